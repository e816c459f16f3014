"""Codes with which a run fails before anything is sent."""

from __future__ import annotations

from worker.explanations.model import Explanation, Fault

EXPLANATIONS = {
    "query_failed": Explanation(
        title="The query failed",
        fault=Fault.CONFIGURATION,
        resolution="Correct the query or its source, then start the run again.",
        causes=(
            "The SQL is wrong, or names a table that the source does not declare.",
            "A file of the source is missing, outside the catalog folder, or cannot be read.",
            (
                "The database cannot be reached, refuses the login, or took longer than "
                "`statement_timeout`."
            ),
        ),
        steps=(
            "Read the message: it names the line of the query, or the file and its line.",
            "Correct it, and try: deskfeed preview ORCHESTRATION",
            "Start the run again. Nothing of it was sent.",
        ),
        command="deskfeed preview ORCHESTRATION",
    ),
    "unresolved_column": Explanation(
        title="A column is named that is not there",
        fault=Fault.CONFIGURATION,
        resolution="Correct the column's name in the query, or under `columns:` in the "
        "orchestration, then start the run again.",
        causes=(
            "The query names a column that its source does not have.",
            "`columns:` in the orchestration names a column that the query does not return.",
            "The source was changed: a column was renamed or taken out of the export.",
        ),
        steps=(
            (
                "Compare the name in the message with the source: the header of the file, or the "
                "columns of the table."
            ),
            "Correct the query, or `columns:`; names with capitals or blanks need double quotes.",
            "Try: deskfeed preview ORCHESTRATION",
            "Start the run again. Nothing of it was sent.",
        ),
        command="deskfeed check ORCHESTRATION",
    ),
    "catalog_differs": Explanation(
        title="The worker has another catalog than the run was started from",
        fault=Fault.CONFIGURATION,
        resolution="Let DESKFEED_CATALOG be the same where the run is started and where workers "
        "run, restart the workers, then start the run again. Nothing was sent.",
        causes=(
            "The worker was started in another folder, or without DESKFEED_CATALOG.",
            "The query, or a key that decides what is sent, was edited between start and planning.",
            "Workers on several hosts have different versions of the catalog.",
        ),
        steps=(
            "Compare the folder in the message with DESKFEED_CATALOG where you start runs.",
            "Give all of them the same catalog; start the workers again if it was set anew.",
            "Start the run again: deskfeed run ORCHESTRATION",
        ),
        command="deskfeed run ORCHESTRATION",
    ),
    "source_not_set": Explanation(
        title="The source's database is not known",
        fault=Fault.CONFIGURATION,
        resolution="Set the variable that `url_env:` names in the environment, in .env or as a "
        "secret file.",
        causes=(
            "The variable is not set where this command or worker runs.",
            "`url_env:` in the source's file has another name than the variable.",
        ),
        steps=(
            "Set the variable on every host with workers (docs/settings.md).",
            "Check: deskfeed check",
        ),
        command="deskfeed check",
    ),
    "missing_required_field": Explanation(
        title="A required column is missing",
        fault=Fault.CONFIGURATION,
        resolution="Add the column to the query (or rename one with AS), then start the run again.",
        causes=(
            "The result has no column `name`.",
            (
                "It has neither `email` nor `external_id`; without one of them Zendesk would make "
                "a new user each time."
            ),
            "The column is there under another name.",
        ),
        steps=(
            "Add the column to the query, or rename one: customer_name AS name.",
            "Try: deskfeed preview ORCHESTRATION",
            "Start the run again. Nothing of it was sent.",
        ),
        command="deskfeed check ORCHESTRATION",
    ),
    "invalid_columns": Explanation(
        title="The query's columns cannot be mapped",
        fault=Fault.CONFIGURATION,
        resolution="Rename or remove the columns named in the query, then start the run again.",
        causes=(
            "Two columns of the result have the same name, or are sent as the same attribute.",
            "A column must not be sent, such as `role`, or `strict: true` refuses an unknown one.",
            "A value under `constants:` or `defaults:` cannot be sent.",
        ),
        steps=(
            (
                "Rename the column that the message names (AS), remove it, or leave it out with "
                "`columns:` and null."
            ),
            "Try: deskfeed preview ORCHESTRATION",
            "Start the run again. Nothing of it was sent.",
        ),
        command="deskfeed check ORCHESTRATION",
    ),
    "unknown_user_field": Explanation(
        title="Zendesk has no such user field",
        fault=Fault.CONFIGURATION,
        resolution="Make or activate the field in Zendesk (Admin Center, People, User fields), or "
        "correct the name in the query or the orchestration, then start the run again.",
        causes=(
            "The key is misspelt: it is the field's key, not its title.",
            "The field was not made yet in this account, for instance in the production account.",
            "The field is there and inactive.",
        ),
        steps=(
            (
                "Look in Admin Center, People, User fields for the field's key and whether it is "
                "active."
            ),
            "Correct the name in the query, or make the field.",
            (
                "Start the run again. Zendesk would have ignored the values in silence, so nothing "
                "was sent."
            ),
        ),
        command="deskfeed destinations test NAME",
    ),
    "threshold_exceeded": Explanation(
        title="A threshold was exceeded",
        fault=Fault.DATA,
        resolution="Look at the query's result (deskfeed preview); if it is right, change "
        "`thresholds:` in the orchestration and start again.",
        causes=(
            "The source is empty or half loaded: a job before this one failed.",
            "The query returns many more rows than it should: a join doubles them.",
            "More rows are refused than `max_failed_percent` allows: see their reasons.",
        ),
        steps=(
            "Look at the result: deskfeed preview ORCHESTRATION",
            "See why rows were refused: deskfeed failures RUN",
            "Mend the source or the query; or, if the number is right, change `thresholds:`.",
            "Start the run again. Nothing of it was sent.",
        ),
        command="deskfeed preview ORCHESTRATION",
    ),
    "plan_crashed": Explanation(
        title="Planning ended unexpectedly several times",
        fault=Fault.DESKFEED,
        resolution="Look at the worker's log for the cause (memory, disk), then start the run "
        "again.",
        causes=(
            "The machine has too little memory, and its kernel ended the planning process.",
            "The disk of the scratch folder is full.",
            "A driver of the database crashes.",
        ),
        steps=(
            "Look at the worker's log at the time of the run, and at the kernel's (dmesg).",
            "Give it memory or disk; a query that sorts less needs less.",
            "Start the run again. Nothing of it was sent.",
        ),
        command="deskfeed doctor",
    ),
}
