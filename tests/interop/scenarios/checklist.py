"""The scenarios of two other servers' tests, and which of our tests shows each.

The names on the left are those of KumoMTA (``crates/integration-tests``) and the titles of Exim's
scripts (``test/scripts``, with their numbers), as far as they are about mail between servers. What
is about their own languages and interfaces (KumoMTA's Lua, HTTP and AMQP; Exim's expansions and
lookups) has no counterpart. On the right stands a test, or a module that is all about it.
"""

from __future__ import annotations

from collections.abc import Mapping

_SCENARIOS = "tests.interop.scenarios"
_FAULTS = f"{_SCENARIOS}.test_faults.FaultTests.test_every_fault"
_ODD = f"{_SCENARIOS}.test_odd_servers.OddServerTests.test_every_odd_server"
_EXCHANGERS = f"{_SCENARIOS}.test_exchangers.ExchangersTests"
_SLOW = f"{_SCENARIOS}.test_slow_destinations.SlowDestinationTests.test_one_octet_a_second"
_RELAY = "tests.delivery.test_relay"
_DOWN = "tests.interop.test_relay.DownTests"

KUMOMTA: Mapping[str, tuple[str, ...]] = {
    "auth_deliver": ("tests.interop.test_submission.SubmissionTests.test_curl",),
    "auth_deliver_invalid_password": ("tests.interop.test_security.TlsTests.test_wrong_password",),
    "allow_plaintext_auth": ("tests.delivery.test_sessions.LoginTests.test_never_in_clear",),
    "bad_source_address": ("tests.delivery.test_source.SourcesTests.test_by_name_and_family",),
    "bare_lf_line_length": ("tests.wire.test_data.DecoderTests.test_smuggling",),
    "broken_first_choice_mx": (
        f"{_EXCHANGERS}.test_one_after_the_other",
        "tests.interop.test_relay.NextHopTests.test_exchangers_found_in_the_dns",
    ),
    "dane": ("tests.interop.test_dane.DaneTests.test_dane",),
    "disconnect_in_data": (_FAULTS, f"{_EXCHANGERS}.test_one_after_the_other"),
    "disconnect_in_mail_from": (_FAULTS, f"{_EXCHANGERS}.test_one_after_the_other"),
    "disconnect_peer_idle_out": (_ODD, f"{_RELAY}.ReuseTests.test_closed_in_the_meantime"),
    "disconnect_reconnect_same_host": (_ODD, f"{_RELAY}.ReuseTests.test_closed_at_mail"),
    "disconnect_terminate_ok": (_FAULTS, _ODD),
    "dispatcher_watchdog": ("tests.delivery.test_dispatch.DispatchTests.test_an_agent_that_hangs",),
    "eightbitmime": (_FAULTS, "tests.delivery.test_fitting.EightBitTests.test_encoded"),
    "end_to_end": ("tests.interop.test_chain.ChainTests.test_there_and_back",),
    "end_to_end_deferred_queue": (f"{_DOWN}.test_the_message_waits_and_goes_when_the_hop_is_back",),
    "end_to_end_quoted_localpart": (
        "tests.wire.test_sender_transfer.TransactionTests.test_quoted_local_part",
    ),
    "end_to_end_stuffed": ("tests.wire.test_data.EncoderTests.test_round_trip",),
    "expires": (f"{_DOWN}.test_warning_and_failure_notice",),
    "idna_starttls": (f"{_SCENARIOS}.test_odd_servers.InternationalTests.test_starttls",),
    "maildir_batch": ("tests.delivery.test_dispatch.DispatchTests.test_one_job_for_each_way",),
    "maildir_batch_452": (_ODD, f"{_RELAY}.FallbackTests.test_too_many_recipients"),
    "maildir_batch_max_per_batch": (f"{_RELAY}.ReuseTests.test_messages_per_connection",),
    "max_line_length": ("tests.wire.test_lines.LineBufferTests.test_limit_is_exact",),
    "mta_sts_enforce": ("tests.interop.test_mta_sts.MtaStsTests.test_policies",),
    "mx_list_dns_failure": (f"{_EXCHANGERS}.test_name_server_is_away",),
    "mx_list_lookup_error": ("tests.delivery.test_lookup.LookupTests.test_faults",),
    "perm_fail": (_FAULTS, "tests.queue.test_progress.OutcomeTests.test_refused_bounces_at_once"),
    "queue_ndr": (f"{_DOWN}.test_warning_and_failure_notice",),
    "rebind": (f"{_EXCHANGERS}.test_a_destination_is_suspended",),
    "retry_schedule": (
        "tests.queue.test_schedule.ScheduleTests.test_every_fifteen_minutes",
        "tests.queue.test_schedule.BackoffTests.test_five_days_of_attempts",
    ),
    "suspend_delivery_ready_q": (f"{_EXCHANGERS}.test_a_destination_is_suspended",),
    "suspend_delivery_ready_q_and_deliver": (f"{_EXCHANGERS}.test_a_destination_is_suspended",),
    "suspend_delivery_scheduled_q": (f"{_EXCHANGERS}.test_name_server_is_away",),
    "suspend_delivery_scheduled_q_and_deliver": (f"{_EXCHANGERS}.test_name_server_is_away",),
    "temp_fail": (_FAULTS, f"{_DOWN}.test_a_4xx_retries"),
    "tls_opportunistic_fail": (_ODD, "tests.delivery.test_sessions.TlsTests.test_handshake_fails"),
    "tls_opportunistic_reconnect": (_ODD,),
    "xclient": ("tests.interop.test_extensions.XclientTests.test_xclient",),
}

EXIM: Mapping[str, tuple[str, ...]] = {
    "0144 DNS_AGAIN in manualroute": (f"{_EXCHANGERS}.test_name_server_is_away",),
    "0160 a recipient's temporary error, tried again when it is due": (
        _FAULTS,
        f"{_DOWN}.test_a_4xx_retries",
    ),
    "0183 caching failed DNS lookups": ("tests.delivery.test_lookup.LookupTests.test_kept",),
    "0190 hosts_randomize": (
        "tests.delivery.test_exchanges.ExchangesTests.test_equal_preference_is_shuffled",
    ),
    "0209 re-use of SMTP channel after 450 error": (f"{_RELAY}.ReuseTests.test_reused",),
    "0214 overlong lines": ("tests.server.test_header_scan.HeaderScanTests.test_too_large",),
    "0216 PIPELINING, lots of addresses": (
        "tests.wire.test_sender_transfer.TransactionTests.test_pipelined",
    ),
    "0217 PIPELINING (client: errors, etc)": (
        _FAULTS,
        "tests.wire.test_sender_transfer.TransactionTests.test_all_recipients_refused_pipelined",
    ),
    "0217 server drops connection after some responses": (
        "tests.wire.test_smtp_sender.BrokenTransactionTests.test_lost_before_the_dot",
    ),
    "0218 PIPELINING (client: multiple messages)": (
        "tests.wire.test_sender_transfer.TransactionTests.test_many_in_one_session",
    ),
    "0242 message with no terminating LF": ("tests.wire.test_data.EncoderTests.test_examples",),
    "0257 fallback hosts with dnslookup": (f"{_RELAY}.FallbackTests.test_next_hop",),
    "0288 serialize_hosts": (f"{_RELAY}.ReuseTests.test_limit", _SLOW),
    "0322 error messages for outgoing pipelining and non-pipelining": (_FAULTS,),
    "0350 ignore_target_hosts": (
        "tests.interop.test_relay.NextHopTests.test_private_exchangers_are_refused",
        f"{_RELAY}.DeliveryTests.test_ourselves",
    ),
    "0388 recipient errors and hosts_max_try": (f"{_RELAY}.FallbackTests.test_replies_are_final",),
    "0461 fallback_hosts after main hosts have timed out": (_FAULTS,),
    "0476 RSET error for multiple messages": (
        _FAULTS,
        "tests.wire.test_smtp_sender.BrokenTransactionTests.test_reset_refused",
    ),
    "0543 4xx retries with 2nd message": (f"{_RELAY}.ReuseTests.test_reused",),
    "0554 retries for address errors": (_FAULTS,),
    "4200 internationalised mail to a server without SMTPUTF8": (
        _ODD,
        "tests.delivery.test_fitting.SmtpUtf8Tests.test_recipient",
    ),
}

OTHERS: Mapping[str, tuple[str, ...]] = {
    "one slow destination never delays another": (_SLOW,),
    "421 after the banner, and at every stage": (_FAULTS,),
    "STARTTLS refused, where TLS is required and where it is not": (_ODD,),
    "a smarthost refuses the login, for good and for now": (_ODD,),
    "LMTP: a reply for each recipient": (
        _ODD,
        "tests.interop.test_lmtp.DovecotTests.test_each_recipient_has_its_reply",
    ),
    "SIZE: a message that is too large is not sent": (_ODD,),
    "replies before commands, in pieces, without end": (
        _ODD,
        "tests.delivery.test_hostile_servers.HostileTests.test_any_server",
    ),
    "null MX; no MX but an address": (
        "tests.interop.test_relay.NextHopTests.test_exchangers_found_in_the_dns",
    ),
    "a loop of mail exchangers": ("tests.delivery.test_exchanges.ExchangesTests.test_ourselves",),
    "a link is cut at each moment": ("tests.interop.internet.test_cuts",),
    "connection limits": ("tests.server.test_connections.ConnectionsTests.test_limits",),
    "rate limits": ("tests.delivery.test_shaping.RatesTests.test_by_destination",),
    "dead destinations are left alone": (
        "tests.delivery.test_destination.DestinationTests.test_dead",
    ),
    "notices: refused, given up, delayed, delivered": (
        "tests.interop.internet.test_notices",
        f"{_DOWN}.test_warning_and_failure_notice",
    ),
    "8BITMIME is missing": ("tests.interop.test_relay_faults.SinkTests.test_without_8bitmime",),
    "a name server, a link or a disk fails meanwhile": (
        f"{_EXCHANGERS}.test_name_server_is_away",
        "tests.interop.internet.test_cuts",
        "tests.interop.test_full_disks.QueueTests.test_full",
    ),
    "the queue: hold, release, retry, reroute": (
        f"{_EXCHANGERS}.test_name_server_is_away",
        f"{_EXCHANGERS}.test_a_destination_is_suspended",
        "tests.cli.test_reroute.Changed.test_elsewhere",
    ),
}
