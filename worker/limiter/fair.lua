-- Fair shares between the runs ("flows") of an account: earliest eligible virtual deadline first, per
-- run and not per permit. Stands between log.lua and the scripts that need it.
--
-- A run's tag is what it has had: microseconds of the account, divided by its share. V is the mean of
-- the tags of all runs that are there, weighted by their shares: where each would stand had it had just
-- its part. A run whose tag is not above V is eligible; of these the one whose next chunk would bring
-- it to the lowest tag (its deadline) books. So no run is ever a whole chunk ahead of its part or
-- behind it (docs/limiter.md tells why). The others step back, unless the slot is so near that it
-- would go empty: nobody waits for somebody who is not there.
--
-- A run that comes new, or back, begins at V: it can neither claim the past nor is it punished for it.
--
--   FLOWS "V" -> number;  "r:<run>" -> "<tag> <share> <cost> <served> <turn> <turn> ..."
--   cost: of its last caller's chunk, in microseconds of the account; served: its last booked slot
--   turns: slots that callers of the run were told to come back for, in order

local PINCH = USERS_WINDOW / 4   -- a slot nearer than this is for whoever is there
local GRACE = USERS_WINDOW       -- how late a caller may be and its run still be there
local MOST_LAG = 1               -- chunks that slots taken by others, or for others, can be owed
local EVEN = 10                  -- microseconds: tags are rounded, and equal within this

local V, flows = 0, {}

local function save(flow)
  local it = flows[flow]
  local words = {int(it.tag), string.format('%.6g', it.share), int(it.cost), int(it.served)}
  for _, turn in ipairs(it.turns) do
    words[#words + 1] = int(turn)
  end
  redis.call('HSET', FLOWS, 'V', int(V), 'r:' .. flow, table.concat(words, ' '))
  redis.call('PEXPIRE', FLOWS, KEEP_MS)
end

-- A run as it is stored, without the turns that are over.
local function parsed(name, text)
  local numbers = {}
  for word in string.gmatch(text, '%S+') do
    numbers[#numbers + 1] = tonumber(word)
  end
  local it = {name = name, tag = numbers[1], share = numbers[2], cost = numbers[3],
    served = numbers[4], turns = {}}
  for i = 5, #numbers do
    if numbers[i] >= NOW - GRACE then
      it.turns[#it.turns + 1] = numbers[i]
    end
  end
  return it
end

-- A run is there as long as a caller of it was promised a turn, or has a slot: then it asks for its
-- next turn when it sends.
local function is_there(it)
  return #it.turns > 0 or it.served >= NOW - PINCH
end

local function mean_of(runs)
  local sum, shares = 0, 0
  for _, it in pairs(runs) do
    sum, shares = sum + it.share * (it.tag - V), shares + it.share
  end
  return shares > 0 and V + sum / shares or V
end

-- Reads the runs, those that are there, and forgets those of which nothing is left to know.
local function load_flows(flow, share, cost)
  local all, gone = redis.call('HGETALL', FLOWS), {}
  for i = 1, #all, 2 do
    if all[i] == 'V' then
      V = tonumber(all[i + 1])
    elseif string.sub(all[i], 1, 2) == 'r:' then  -- "f:" was another layout, of an earlier version
      local it = parsed(string.sub(all[i], 3), all[i + 1])
      local where = is_there(it) and flows or gone
      where[it.name] = it
    end
  end
  V = mean_of(flows)
  for name, it in pairs(gone) do
    if name == flow then
      it.tag = math.max(it.tag, V)
      flows[name] = it
    elseif it.tag <= V then
      redis.call('HDEL', FLOWS, 'r:' .. name)
    end
  end
  flows[flow] = flows[flow] or {name = flow, tag = V, served = 0, turns = {}}
  flows[flow].share, flows[flow].cost = share, cost
  for _, it in pairs(flows) do
    local most = MOST_LAG * it.cost / it.share
    it.tag = math.max(V - most, math.min(V + most, it.tag))
  end
  V = mean_of(flows)
end

-- Which of the runs is to have the next slot. Of several with the same right the one that has waited
-- longest, so that a new run does not wait for one that sends already; all callers see one order.
local function goes_before(one, other)
  local sooner = one.tag + one.cost / one.share - (other.tag + other.cost / other.share)
  if math.abs(sooner) > EVEN then
    return sooner < 0
  end
  return one.served < other.served or (one.served == other.served and one.name < other.name)
end

local function chosen(runs, v)
  local line, best = math.huge, nil
  for _, it in pairs(runs) do
    line = math.min(line, it.tag)
  end
  line = math.max(line, v) + EVEN  -- where nobody is eligible, the one who is nearest
  for _, it in pairs(runs) do
    if it.tag <= line and (not best or goes_before(it, best)) then
      best = it
    end
  end
  return best
end

local function is_next(flow)
  return chosen(flows, V).name == flow
end

-- The run has booked a slot.
local function serve(flow, slot)
  local it = flows[flow]
  it.tag = it.tag + it.cost / it.share
  it.served = math.max(it.served, slot)
  V = mean_of(flows)
  save(flow)
end

-- A caller of the run is here: the turn that it came for is no longer to come.
local function redeem(flow, lead)
  local turns = flows[flow].turns
  if turns[1] and turns[1] <= NOW + lead then
    table.remove(turns, 1)
    save(flow)
  end
end

local function note(flow, turn)
  local turns = flows[flow].turns
  turns[#turns + 1] = turn
  table.sort(turns)
  save(flow)
end

-- The slot of the run's next caller if all runs go on asking: the order is played ahead from `slot`,
-- the first that nobody has booked, to the first slot of the run to which none of its callers was
-- told to come. So a slot that somebody left is found by the next caller of the run that it falls to.
local function planned(flow, slot, horizon)
  local runs, shares, v, k = {}, 0, V, 1
  for name, it in pairs(flows) do
    if name == flow or not (it.turns[1] and it.turns[1] < NOW) then
      runs[name] = {name = name, tag = it.tag, share = it.share, cost = it.cost, served = it.served}
      shares = shares + it.share
    end
  end
  local turns = flows[flow].turns
  while slot < horizon do
    local it = chosen(runs, v)
    if it.name == flow then
      if not (turns[k] and turns[k] <= slot + it.cost / 2) then
        return slot
      end
      k = k + 1
    end
    it.tag, it.served = it.tag + it.cost / it.share, slot
    v, slot = v + it.cost / shares, slot + it.cost
  end
  return horizon
end

-- When a caller of the run that is denied now may return, `lead` before his turn. A turn is advice
-- only; who comes, finds room and is next books. A turn beyond the longest retry is not looked for: its
-- caller asks again, too late for the slots until then.
local function next_turn_of(flow, slot, longest_retry, lead)
  local turn = planned(flow, slot, NOW + longest_retry + lead)
  note(flow, turn)
  return turn
end
