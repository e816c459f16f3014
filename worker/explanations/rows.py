"""Codes of rows that were not delivered."""

from __future__ import annotations

from worker.explanations.model import Explanation, Fault

_SEE = "See the rows: deskfeed failures RUN"
_MEND = "Correct it in the source (or in the query), then: deskfeed run ORCHESTRATION"
_RETRY = "Send them again: deskfeed retry RUN"

EXPLANATIONS = {
    "missing_name": Explanation(
        title="The row has no name",
        fault=Fault.DATA,
        resolution="Give the row a name in the source.",
        causes=("The column `name` is NULL or blank in this row: Zendesk wants a name.",),
        steps=(
            _SEE,
            "Give it a name in the source; or let the query make one: coalesce(name, email).",
            "Run again: deskfeed run ORCHESTRATION",
        ),
        command="deskfeed failures RUN",
    ),
    "missing_identifier": Explanation(
        title="The row has neither external_id nor e-mail",
        fault=Fault.DATA,
        resolution="Give the row one of them in the source; without, Zendesk would make a new user "
        "each time.",
        causes=("Both columns are NULL or blank in this row.",),
        steps=(_SEE, _MEND, "Or leave such rows out: WHERE external_id IS NOT NULL."),
        command="deskfeed failures RUN",
    ),
    "invalid_value": Explanation(
        title="A value cannot be sent",
        fault=Fault.DATA,
        resolution="Correct the value of the column named in the source.",
        causes=(
            "It is no e-mail address or phone number, or no option of the field.",
            "It does not match the field's regular expression.",
            "It is too large, or has characters that cannot be sent.",
        ),
        steps=(
            _SEE,
            _MEND,
            (
                "Or send the row without such values: `on_invalid_value: drop_field` in the "
                "orchestration."
            ),
        ),
        command="deskfeed failures RUN",
    ),
    "mismatched_datatype": Explanation(
        title="A value has the wrong data type",
        fault=Fault.DATA,
        resolution="Convert the value named to the type that is wanted: in the source, or with "
        "CAST in the query.",
        causes=(
            "The Zendesk field is a date, number or checkbox, and the value is none.",
            "The column has a type that cannot be sent: a structure, a list, an interval.",
            (
                "The query compares or calculates with two types that do not go together, or a "
                "value cannot be converted as it asks."
            ),
        ),
        steps=(
            (
                "Read which column and which type it is: deskfeed failures RUN, or the message of "
                "the run."
            ),
            "Convert it in the query: CAST(x AS DATE), TRY_CAST(x AS INTEGER), strftime(…).",
            "If the field's type is wrong, make a field of the right type in Zendesk.",
            "Try, then run again: deskfeed preview ORCHESTRATION",
        ),
        command="deskfeed preview ORCHESTRATION",
    ),
    "row_too_large": Explanation(
        title="The row is too large to send",
        fault=Fault.DATA,
        resolution="Shorten the long values of this row in the source.",
        causes=("A text (notes, details, a text field) is very long.",),
        steps=(_SEE, "Shorten it in the source, or in the query: left(notes, 5000)."),
        command="deskfeed failures RUN",
    ),
    "staff_member": Explanation(
        title="The row is an agent or admin of the account",
        fault=Fault.DATA,
        resolution="Take the person out of the query. If staff should be overwritten by it: "
        "`allow_staff: true` in the orchestration.",
        causes=(
            "An employee is also a customer, under the same e-mail address.",
            "A test row has an employee's address.",
            "An agent's external_id is one of the customers' too.",
        ),
        steps=(
            _SEE,
            "Leave the person out in the query, or give the customer another address.",
            (
                "Only if it is meant: `allow_staff: true` in the orchestration. An administrator's "
                "credential then overwrites what agents and admins have."
            ),
        ),
        command="deskfeed failures RUN",
    ),
    "tags_not_read": Explanation(
        title="The tags that people have could not be read",
        fault=Fault.ZENDESK,
        resolution="Look whether Zendesk answers (deskfeed destinations test NAME), then: "
        "deskfeed retry RUN. `tags: replace` in the orchestration needs no reading.",
        causes=("`tags: add` reads the tags first, and Zendesk gave no usable answer.",),
        steps=(
            "Look whether Zendesk answers: deskfeed destinations test NAME",
            _RETRY,
        ),
        command="deskfeed retry RUN",
    ),
    "missing_external_id": Explanation(
        title="`tags: add` needs an external_id",
        fault=Fault.DATA,
        resolution="Give the row an external_id in the source, or set `tags: replace` in the "
        "orchestration.",
        causes=("The tags that a person has are looked up by external_id; this row has none.",),
        steps=(_SEE, "Give it an external_id, or set `tags: replace`.", _MEND),
        command="deskfeed failures RUN",
    ),
    "duplicate": Explanation(
        title="Another row of the result is the same person",
        fault=Fault.DATA,
        resolution="Nothing to do: the last row was sent. Which one that is, ORDER BY in the query "
        "says.",
        causes=(
            "A join in the query returns a customer several times.",
            "The source has the person twice, in other letters (Ada@x, ada@x).",
        ),
        steps=(
            "Nothing, if the last row is the right one.",
            "Else let the query return each person once, or say which is last with ORDER BY.",
        ),
        command="deskfeed failures RUN",
    ),
    "shared_email": Explanation(
        title="Several external_ids have this e-mail",
        fault=Fault.DATA,
        resolution="Say in the source whose address it is, or let these rows go without it: "
        "`on_shared_email: drop_email` in the orchestration's file.",
        causes=(
            "A family or company shares an address.",
            "One customer has two accounts in the source.",
            "A made-up address stands where none is known (none@example.com).",
        ),
        steps=(
            _SEE,
            "Say in the source whose address it is: in Zendesk an address belongs to one user.",
            "Or send these rows without it: `on_shared_email: drop_email`.",
        ),
        command="deskfeed failures RUN",
    ),
    "newer_run": Explanation(
        title="A later run has taken care of this person",
        fault=Fault.NOBODY,
        resolution="Nothing to do: older values are not sent over newer ones.",
        causes=("The run that is retried is older than one that delivered this person.",),
        steps=("Nothing.",),
        command="deskfeed runs",
    ),
    "rejected_by_zendesk": Explanation(
        title="Zendesk refused the row",
        fault=Fault.DATA,
        resolution="Correct what Zendesk names, then start the run again.",
        causes=(
            "A value is not as Zendesk wants it: the detail names the attribute.",
            "The e-mail belongs to another user, who has another external_id.",
            "The organization is not there.",
        ),
        steps=(
            "See Zendesk's words: deskfeed failures RUN. Values in them are masked.",
            "Look the person up in Zendesk, by e-mail and by external_id.",
            _MEND,
        ),
        command="deskfeed failures RUN",
    ),
    "unconfirmed": Explanation(
        title="The row was sent, and Zendesk never said what became of it",
        fault=Fault.ZENDESK,
        resolution="Send it again, twice is harmless: deskfeed retry RUN",
        causes=(
            "Zendesk's job was lost or gave no result for the row, and reading back was no proof.",
            "The row has no external_id, by which it could be read back.",
        ),
        steps=(_RETRY, "Rows with an external_id can be proved; give one to all."),
        command="deskfeed retry RUN",
    ),
    "row_conflict": Explanation(
        title="Zendesk was busy with the same person",
        fault=Fault.ZENDESK,
        resolution="Another job held the row, twice if the run was not stopped before. Start the "
        "run again once nothing else writes to the account.",
        causes=(
            "Another program writes the same users at the same time.",
            "The run was stopped while the row waited to be sent again.",
        ),
        steps=("Find out what else imports into the account, and when.", _RETRY),
        command="deskfeed retry RUN",
    ),
    "cancelled": Explanation(
        title="The run was stopped before this row was sent",
        fault=Fault.NOBODY,
        resolution="Send it: deskfeed retry RUN",
        causes=("Somebody stopped the run: deskfeed audit tells who.",),
        steps=("If the row should be sent: deskfeed retry RUN",),
        command="deskfeed retry RUN",
    ),
    "forgotten": Explanation(
        title="The person was to be forgotten",
        fault=Fault.NOBODY,
        resolution="Nothing to do. The next run sends them again unless the query leaves them out.",
        causes=("Somebody asked for it with `deskfeed forget` before this row was sent.",),
        steps=("See that the query leaves the person out, else the next run sends them again.",),
        command="deskfeed audit",
    ),
    "quarantined": Explanation(
        title="Workers died on this chunk again and again",
        fault=Fault.DESKFEED,
        resolution="Look at the workers' logs; the chunk's rows were not delivered.",
        causes=(
            "Workers are ended for want of memory, and this chunk was always with them.",
            "A defect of Deskfeed or of a library shows with these rows.",
        ),
        steps=(
            "Look at the logs of the workers, and at the kernel's (dmesg), at these times.",
            "Mend what ended them; then: deskfeed retry RUN",
            "If it is a defect, keep the logs: they hold no customer's values.",
        ),
        command="deskfeed retry RUN",
    ),
    "payload_changed": Explanation(
        title="Rows in the ledger are not those that were planned",
        fault=Fault.DESKFEED,
        resolution="The ledger's file was damaged or edited, or a backup was restored. Nothing of "
        "it is sent: stop the run (deskfeed stop RUN), check the disk, and start it again.",
        causes=(
            "The disk is faulty, or was full.",
            "Somebody edited the ledger.",
            "A backup was restored over a running ledger.",
        ),
        steps=(
            "Stop the run: deskfeed stop RUN",
            "Check the disk and the database for damage.",
            "Start the run again: deskfeed run ORCHESTRATION",
        ),
        command="deskfeed stop RUN",
    ),
}
