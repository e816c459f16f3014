-- Fair shares between the runs ("flows") of an account: start-time fair queueing, per run and not
-- per permit. Stands between log.lua and the scripts that need it.
--
-- A run's tag is what it has had: microseconds of the account, divided by its share. A run that
-- comes new, or back, begins at V, the tag of those being served: it can neither claim the past nor
-- is it punished for it. Whose tag is lowest books; the others step back, unless the slot is so
-- near that it would go empty: nobody waits for somebody who is not there.
--
--   FLOWS "V" -> number;  "f:<run>" -> "<tag> <share> <turn> <turn> ..."
--   turns: slots that callers of the run were told to come back for, in order. As long as it has
--   one, the run competes.

local PINCH = USERS_WINDOW / 4   -- a slot nearer than this is for whoever is there
local GRACE = USERS_WINDOW       -- how late a caller may be and its run still compete

local V, flows = 0, {}

local function save(flow)
  local it = flows[flow]
  local words = {int(it.tag), string.format('%.6g', it.share)}
  for _, turn in ipairs(it.turns) do
    words[#words + 1] = int(turn)
  end
  redis.call('HSET', FLOWS, 'f:' .. flow, table.concat(words, ' '))
  redis.call('PEXPIRE', FLOWS, KEEP_MS)
end

-- A run as it is stored, without the turns that are over.
local function parsed(text)
  local numbers = {}
  for word in string.gmatch(text, '%S+') do
    numbers[#numbers + 1] = tonumber(word)
  end
  local it = {tag = numbers[1], share = numbers[2], turns = {}}
  for i = 3, #numbers do
    if numbers[i] >= NOW - GRACE then
      it.turns[#it.turns + 1] = numbers[i]
    end
  end
  return it
end

-- Reads the runs and forgets those of which nothing is left to know.
local function load_flows(flow, share)
  local all = redis.call('HGETALL', FLOWS)
  for i = 1, #all, 2 do
    if all[i] == 'V' then
      V = tonumber(all[i + 1])
    else
      flows[string.sub(all[i], 3)] = parsed(all[i + 1])
    end
  end
  for name, it in pairs(flows) do
    if #it.turns == 0 and it.tag <= V and name ~= flow then
      flows[name] = nil
      redis.call('HDEL', FLOWS, 'f:' .. name)
    end
  end
  flows[flow] = flows[flow] or {tag = 0, turns = {}}
  flows[flow].share = share
end

local function start_of(it)
  return math.max(it.tag, V)
end

-- The lowest start among the other runs that compete; nil if there are none.
local function lowest_rival(flow)
  local lowest
  for name, it in pairs(flows) do
    if name ~= flow and #it.turns > 0 then
      lowest = math.min(lowest or start_of(it), start_of(it))
    end
  end
  return lowest
end

-- The run has had `cost` microseconds of the account.
local function serve(flow, cost)
  local it, lowest = flows[flow], lowest_rival(flow)
  local start = start_of(it)
  V = math.max(V, math.min(start, lowest or start))
  it.tag = start + cost / it.share
  redis.call('HSET', FLOWS, 'V', int(V))
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

-- How many of a run's turns are still ahead of `slot`, the first that nobody has booked.
local function to_come(it, slot, step)
  local count = 0
  for _, turn in ipairs(it.turns) do
    if turn >= slot - step / 2 then
      count = count + 1
    end
  end
  return count
end

-- Where the run's next caller stands in the fair order, as far as the others' callers are known.
local function fair_slot(flow, slot, step)
  local it = flows[flow]
  local own = to_come(it, slot, step)
  local tag, before = start_of(it) + own * step / it.share, own
  for name, other in pairs(flows) do
    if name ~= flow then
      local behind = math.max(0, math.ceil((tag - start_of(other)) * other.share / step))
      before = before + math.min(to_come(other, slot, step), behind)
    end
  end
  return slot + before * step
end

-- The first slot for which nobody was told to come back.
local function free_slot(slot, step)
  local all = {}
  for _, it in pairs(flows) do
    for _, turn in ipairs(it.turns) do
      all[#all + 1] = turn
    end
  end
  table.sort(all)
  for _, turn in ipairs(all) do
    if turn >= slot + step * 0.75 then
      break
    end
    if turn > slot - step * 0.75 then
      slot = math.max(slot, turn + step)
    end
  end
  return slot
end

-- When a caller of the run that is denied now may return. A turn is advice only; who comes, finds
-- room and is not behind books. A turn beyond the longest retry is not handed out, as its caller
-- asks again before.
local function next_turn_of(flow, slot, step, longest_retry)
  local turn = math.min(free_slot(slot, step), fair_slot(flow, slot, step))
  note(flow, math.min(turn, NOW + longest_retry))
  return turn
end
