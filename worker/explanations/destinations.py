"""Codes of a destination: runs to it are paused, and somebody must act."""

from __future__ import annotations

from worker.explanations.model import Explanation, Fault

_TEST = "Test it: deskfeed destinations test NAME"
_GO_ON = "Let paused runs go on: deskfeed resume RUN"

EXPLANATIONS = {
    "invalid_credentials": Explanation(
        title="Zendesk does not accept the credential",
        fault=Fault.CONFIGURATION,
        resolution="Check the credential: e-mail and API token (a token may have been deleted or "
        "deactivated), or the OAuth client's id and secret, then: deskfeed destinations test NAME",
        causes=(
            (
                "The API token was deleted, or deactivated because nobody used it for 30 days; all "
                "of them end on 2027-04-30."
            ),
            "E-mail and token do not belong together, or the e-mail was changed in Zendesk.",
            "The OAuth client's id or secret is wrong, or the client is not confidential.",
            "The subdomain is that of another account (a sandbox instead of production).",
        ),
        steps=(
            (
                "In Admin Center, Apps and integrations, APIs: is the token or client there, and "
                "active?"
            ),
            (
                "Put the right secret in its place; workers use it without a restart "
                "(docs/credentials.md). For an API token that is gone make an OAuth client."
            ),
            _TEST,
            _GO_ON,
        ),
        command="deskfeed destinations test NAME",
    ),
    "anonymous_login": Explanation(
        title="Zendesk takes us for an anonymous visitor",
        fault=Fault.CONFIGURATION,
        resolution="The credential is wrong although Zendesk answered 200. Check e-mail and API "
        "token, then: deskfeed destinations test NAME",
        causes=(
            "A password stands in place of the API token.",
            "Something between here and Zendesk takes the Authorization header out.",
        ),
        steps=(
            "Check that `…__API_TOKEN` holds an API token, and `…__EMAIL` the plain e-mail.",
            "Better, use an OAuth client: docs/credentials.md.",
            _TEST,
            _GO_ON,
        ),
        command="deskfeed destinations test NAME",
    ),
    "missing_scope": Explanation(
        title="The OAuth client may do too little",
        fault=Fault.CONFIGURATION,
        resolution="In Zendesk's Admin Center give the OAuth client the scopes users:read and "
        "users:write (or read and write), then: deskfeed destinations test NAME",
        causes=(
            "The client is restricted to fewer scopes than it is asked for.",
            "Zendesk granted less than was asked for, without saying so.",
        ),
        steps=(
            (
                "In Admin Center, Apps and integrations, APIs, OAuth clients: open the client, and "
                "allow users:read and users:write (or read and write)."
            ),
            _TEST,
            _GO_ON,
        ),
        command="deskfeed destinations test NAME",
    ),
    "login_suspended": Explanation(
        title="The credential's user is suspended",
        fault=Fault.CONFIGURATION,
        resolution="Let an administrator lift the suspension in Zendesk, or use the credential of "
        "another user, then: deskfeed destinations test NAME",
        causes=(
            "Somebody suspended the user: the person has left, or it looked like an attack.",
            "The credential belongs to the wrong user.",
        ),
        steps=(
            "Ask an administrator of the account why the user is suspended.",
            "Let them lift it; or make a credential for a user that is there for this only.",
            _TEST,
            _GO_ON,
        ),
        command="deskfeed destinations test NAME",
    ),
    "login_not_allowed": Explanation(
        title="The credential's user is no agent or administrator",
        fault=Fault.CONFIGURATION,
        resolution="Use the credential of an administrator, or of an agent whose role may edit end "
        "users.",
        causes=(
            "The credential belongs to an end user: a customer's login.",
            "The user was an agent and was made an end user (downgraded, a seat was freed).",
        ),
        steps=(
            "In Admin Center, People, Team members: look up the user's role.",
            "Give it a role that may edit end users, or use another user's credential.",
            _TEST,
            _GO_ON,
        ),
        command="deskfeed destinations test NAME",
    ),
    "role_may_not_write": Explanation(
        title="The credential's role may not edit end users",
        fault=Fault.CONFIGURATION,
        resolution="Let the user's custom role add and edit end users (Admin Center, People, "
        "Roles), or use an administrator's credential, then: deskfeed destinations test NAME",
        causes=(
            "The user has a custom role that may only look at end users.",
            "The user is a light agent or contributor.",
        ),
        steps=(
            "In Admin Center, People, Roles: open the role that the message names.",
            "Let it add and edit all end users; or give the user another role.",
            _TEST,
            _GO_ON,
        ),
        command="deskfeed destinations test NAME",
    ),
    "bulk_import_disabled": Explanation(
        title="Bulk user import is switched off in this Zendesk account",
        fault=Fault.CONFIGURATION,
        resolution="The account's owner asks Zendesk Support to enable bulk user import "
        "(users/create_or_update_many); then: deskfeed resume RUN",
        causes=(
            (
                "It is off in every account until its owner asks for it. The credential is fine, "
                "and no request but a bulk upsert shows it."
            ),
        ),
        steps=(
            (
                "Let the account's owner write to Zendesk Support: please enable bulk user imports "
                "(the API users/create_or_update_many) for our account."
            ),
            "Wait for their answer. Nothing was sent, and the run keeps its rows.",
            "Let the run go on: deskfeed resume RUN",
            "Should it be so again, the credential's role is the cause: use an administrator's.",
        ),
        command="deskfeed resume RUN",
    ),
    "authorization_error": Explanation(
        title="Zendesk refuses the operation (403)",
        fault=Fault.CONFIGURATION,
        resolution="The credential's user lacks the right to edit users, or bulk user import is "
        "not enabled for the account: its owner asks Zendesk Support to enable it. Then: "
        "deskfeed destinations test NAME",
        causes=(
            "The role of the credential's user may not edit users, or was changed lately.",
            "Bulk user import is not enabled for the account.",
            "The OAuth client's scopes do not reach.",
            "The account allows the API to certain addresses only (IP restrictions).",
        ),
        steps=(
            (
                "In Admin Center, People, Team members: look up the role of the credential's user. "
                "An administrator may do all that is needed."
            ),
            (
                "If it is an administrator, bulk import is off: the account's owner asks Zendesk "
                "Support to enable bulk user imports."
            ),
            _TEST,
            _GO_ON,
        ),
        command="deskfeed destinations test NAME",
    ),
    "subdomain_not_found": Explanation(
        title="No Zendesk account answers under this subdomain",
        fault=Fault.CONFIGURATION,
        resolution="Correct `subdomain:` in the destination's file: the bare label before "
        ".zendesk.com.",
        causes=(
            "The subdomain is misspelt.",
            "The account was renamed, closed, or its trial has ended.",
        ),
        steps=(
            "Open https://SUBDOMAIN.zendesk.com in a browser: is it your help desk?",
            "Correct `subdomain:` in the destination's file.",
            _TEST,
            _GO_ON,
        ),
        command="deskfeed destinations test NAME",
    ),
    "destination_unavailable": Explanation(
        title="Zendesk cannot be reached",
        fault=Fault.ZENDESK,
        resolution="Check the network, and status.zendesk.com; then: deskfeed destinations test "
        "NAME",
        causes=(
            "This host has no way to the internet, or its firewall lets nothing out to port 443.",
            "Names cannot be looked up (DNS).",
            "Zendesk is down or in maintenance: status.zendesk.com.",
            "The destination is the sandbox, and it does not run: deskfeed up --sandbox",
        ),
        steps=(
            "From this host: curl -I https://SUBDOMAIN.zendesk.com/api/v2/users/me.json",
            "Mend the network, or wait for Zendesk. Deskfeed uses no proxy of the environment.",
            (
                "A run that is being sent goes on by itself; one that failed: "
                "deskfeed run ORCHESTRATION"
            ),
        ),
        command="deskfeed destinations test NAME",
    ),
    "tls_error": Explanation(
        title="The TLS certificate of the destination is not valid",
        fault=Fault.ZENDESK,
        resolution="Something between this machine and Zendesk answers in its place. Find out "
        "what; Deskfeed never switches the check off.",
        causes=(
            "A proxy of the company opens TLS connections with a certificate of its own.",
            "The clock of this machine is wrong.",
            "The name leads somewhere else: a changed hosts file or name server.",
        ),
        steps=(
            "See whose certificate it is: openssl s_client -connect SUBDOMAIN.zendesk.com:443",
            "Check the clock: date",
            "Let the network's people exempt *.zendesk.com from inspection.",
            _TEST,
            _GO_ON,
        ),
        command="deskfeed destinations test NAME",
    ),
    "unexpected_redirect": Explanation(
        title="The destination answers with a redirect",
        fault=Fault.CONFIGURATION,
        resolution="Deskfeed never follows one with customer data. Check `subdomain:` (a renamed "
        "account redirects to its new name).",
        causes=(
            "The account was renamed or closed.",
            "A login page of the network answers in Zendesk's place.",
        ),
        steps=(
            "The message names where it leads: is that your account's new name?",
            "Correct `subdomain:` in the destination's file.",
            _TEST,
            _GO_ON,
        ),
        command="deskfeed destinations test NAME",
    ),
    "unexpected_answer": Explanation(
        title="Zendesk answers in a way nobody expects",
        fault=Fault.ZENDESK,
        resolution="See the message and status.zendesk.com; once it is mended, resume the run.",
        causes=(
            "A proxy or firewall answers in Zendesk's place (402, 407, 451).",
            "The account is not paid for, or locked.",
            "Zendesk has changed its API.",
        ),
        steps=(
            "Read the message: it has the status, and Zendesk's words if there are any.",
            _TEST,
            _GO_ON,
        ),
        command="deskfeed destinations test NAME",
    ),
    "chunks_refused": Explanation(
        title="Zendesk refuses whole chunks, one after the other",
        fault=Fault.CONFIGURATION,
        resolution="What Zendesk says is about all rows, not about one: see the message, correct "
        "the query or the account's settings, then: deskfeed resume RUN (or stop it, and run the "
        "corrected query).",
        causes=(
            "A column has values in all rows that Zendesk refuses.",
            "A setting of the account stands against all of them.",
        ),
        steps=(
            "Read what Zendesk says in the message.",
            "If it is the query: deskfeed stop RUN, correct it, deskfeed run ORCHESTRATION",
            "If it is the account: set it right, then deskfeed resume RUN",
        ),
        command="deskfeed show RUN",
    ),
    "wrong_host": Explanation(
        title="A request would have gone to another host",
        fault=Fault.CONFIGURATION,
        resolution="Nothing was sent. Correct `subdomain:` or `base_url:` in the destination's "
        "file.",
        causes=("The address in the destination's file leads elsewhere once it is taken apart.",),
        steps=(
            "Write the bare label before .zendesk.com as `subdomain:`.",
            _TEST,
        ),
        command="deskfeed destinations test NAME",
    ),
    "credential_renewed": Explanation(
        title="The credential was changed",
        fault=Fault.NOBODY,
        resolution="Nothing to do: the new one is used from now on.",
        causes=("Zendesk refused a credential that had just been replaced here.",),
        steps=("Nothing: the chunk goes again with the new one.",),
        command="deskfeed credentials list",
    ),
}
