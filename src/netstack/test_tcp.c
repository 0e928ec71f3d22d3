/* TCP as scripts (test_script.h): RFC 9293 and its companions, chapter by chapter. */
#include "check.h"

#include "netstack/test_script.h"

#define SCRIPT(name, text)         \
    static void name(void **state) \
    {                              \
        (void)state;               \
        run_script(#name, text);   \
    }

/* ---- opening ----------------------------------------------------------------------------------------- */

SCRIPT(only_what_was_offered_is_used, "in S seq 0 mss 1240 win 1000\n"
                                      "out SA seq 0 ack 1 mss 1240 scale 99 nots win 65535\n"
                                      "in A seq 1 ack 1\n"
                                      "open; state ESTABLISHED; idle\n")

SCRIPT(every_option_offered_is_answered, "full; state ESTABLISHED; idle\n")

SCRIPT(switches_keep_options_away, "option sack=off\n"
                                   "option timestamps=off\n"
                                   "option scaling=off\n"
                                   "in S seq 0 mss 1240 sackok ts 1 scale 7\n"
                                   "out SA seq 0 ack 1 scale 99 nots\n")

SCRIPT(ipv6_has_its_own_mss, "option v6\n"
                             "in S seq 0 mss 1400\n"
                             "out SA seq 0 ack 1 mss 1220\n"
                             "in A seq 1 ack 1; open\n"
                             "write 3000\n"
                             "out A seq 1 len 1220 x2\n"
                             "out PA seq 2441 len 560\n")

SCRIPT(sequence_numbers_may_wrap, "option peer_isn=4294967290\n"
                                  "established\n"
                                  "in PA seq 1 ack 1 len 100; got 100; at +10; out A ack 101\n"
                                  "in FA seq 101 ack 1; out A ack 102; read all; end\n")

SCRIPT(a_refused_attempt_gets_a_reset, "policy reset\n"
                                       "in S seq 0; out RA ack 1\n"
                                       "count syns_refused 1; idle\n")

SCRIPT(a_dropped_attempt_gets_nothing, "policy drop\n"
                                       "in S seq 0; none; idle\n"
                                       "count syns_dropped 1\n")

SCRIPT(a_deferred_attempt_waits_for_its_answer, "policy defer\n"
                                                "in S seq 0 mss 1240; none\n"
                                                "in S seq 0 mss 1240; none\n"
                                                "at +9000; none\n"
                                                "decide accept; out SA seq 0 ack 1\n"
                                                "in A seq 1 ack 1; open\n")

SCRIPT(a_deferred_attempt_may_be_refused, "policy defer\n"
                                          "in S seq 0; none\n"
                                          "decide reset; out RA ack 1; idle\n")

SCRIPT(nobody_defers_for_ever, "policy defer\n"
                               "in S seq 0; none\n"
                               "at +9999; none; at +1; out RA ack 1; idle\n"
                               "count syns_timed_out 1\n")

SCRIPT(a_syn_ack_is_repeated_ever_more_slowly_and_given_up, "in S seq 0; out SA seq 0\n"
                                                            "at +999; none; at +1; out SA seq 0\n"
                                                            "at +1999; none; at +1; out SA seq 0\n"
                                                            "at +4000; out SA seq 0; at +8000; out SA seq 0\n"
                                                            "at +16000; out SA seq 0\n"
                                                            "at +31999; none; at +1; none; idle\n"
                                                            "count syns_timed_out 1\n"
                                                            "in A seq 1 ack 1; out R seq 1\n")

SCRIPT(a_repeated_syn_makes_no_second_connection, "in S seq 0; out SA seq 0 ack 1\n"
                                                  "in S seq 0; out SA seq 0 ack 1\n"
                                                  "in A seq 1 ack 1; open\n"
                                                  "count conns_accepted 1; count syns_in 1\n")

SCRIPT(another_syn_from_the_port_replaces_the_first, "in S seq 0; out SA ack 1\n"
                                                     "in S seq 5000; out SA ack 5001\n"
                                                     "in A seq 5001 ack 1; open\n")

SCRIPT(an_ack_of_something_else_does_not_open, "in S seq 0; out SA seq 0\n"
                                               "in A seq 1 ack 77; out R seq 77\n"
                                               "in A seq 1 ack 1; open\n")

SCRIPT(a_reset_ends_a_half_open_connection, "in S seq 0; out SA seq 0\n"
                                            "in R seq 7; none\n"
                                            "in R seq 1; none; idle\n"
                                            "in A seq 1 ack 1; out R seq 1\n")

SCRIPT(data_may_come_with_the_last_ack,
       "in S seq 0; out SA seq 0\n"
       "in PA seq 1 ack 1 len 100; open; got 100; at +10; out A seq 1 ack 101\n")

SCRIPT(an_end_may_come_with_the_last_ack, "in S seq 0; out SA seq 0\n"
                                          "in FA seq 1 ack 1; open; end; out A ack 2; state CLOSE_WAIT\n")

SCRIPT(we_connect, "connect; out S seq 0 mss 1240 sackok ts scale 8\n"
                   "in SA seq 0 ack 1 mss 1240 sackok ts 5 scale 7; out A seq 1 ack 1 tsecr 5\n"
                   "open; state ESTABLISHED; idle\n"
                   "count conns_connected 1\n")

SCRIPT(a_syn_is_repeated_ever_more_slowly_and_given_up, "connect; out S seq 0 sackok\n"
                                                        "at +999; none; at +1; out S seq 0 sackok\n"
                                                        "at +1999; none; at +1; out S seq 0 sackok\n"
                                                        "at +4000; out S seq 0 sackok\n"
                                                        "at +8000; out S seq 0 sackok\n"
                                                        "at +16000; out S seq 0 sackok\n"
                                                        "at +32000; out S seq 0 sackok\n"
                                                        "at +63999; none; at +1; none\n"
                                                        "closed timed; idle\n")

SCRIPT(a_refused_connection_says_so, "connect; out S seq 0 sackok\n"
                                     "in R seq 0; none; state SYN_SENT\n"
                                     "in RA seq 0 ack 77; none; state SYN_SENT\n"
                                     "in RA seq 0 ack 1; closed refused; idle\n")

SCRIPT(an_answer_to_another_syn_is_reset, "connect; out S seq 0 sackok\n"
                                          "in SA seq 0 ack 99; out R seq 99; state SYN_SENT\n")

SCRIPT(both_may_open_at_once, "connect; out S seq 0 sackok\n"
                              "in S seq 0 mss 1240; out SA seq 0 ack 1; state SYN_RECEIVED\n"
                              "in SA seq 0 ack 1 mss 1240; open; state ESTABLISHED\n"
                              "skip\n"
                              "in PA seq 1 ack 1 len 5; got 5; at +10; out A ack 6\n")

SCRIPT(an_end_before_the_handshake_follows_it, "connect; out S seq 0 sackok; shutdown; none\n"
                                               "in SA seq 0 ack 1 mss 1240; open\n"
                                               "out FA seq 1 ack 1; state FIN_WAIT_1\n")

SCRIPT(a_port_unreachable_ends_only_what_is_not_open, "connect; out S seq 0 sackok\n"
                                                      "icmp unreachable 3; closed refused\n")

SCRIPT(a_port_unreachable_does_not_hurt_an_open_connection, "established; write 10; out PA seq 1 len 10\n"
                                                            "icmp unreachable 3; state ESTABLISHED\n"
                                                            "count icmp_errors_in 1\n")

/* ---- ending -------------------------------------------------------------------------------------------- */

SCRIPT(they_end_first, "established\n"
                       "in FA seq 1 ack 1; out A seq 1 ack 2; end; state CLOSE_WAIT\n"
                       "write 10; out PA seq 1 ack 2 len 10; in A seq 2 ack 11\n"
                       "shutdown; out FA seq 11 ack 2; state LAST_ACK\n"
                       "in A seq 2 ack 12; closed done; state gone; idle\n"
                       "count conns_done 1\n")

SCRIPT(we_end_first_and_wait, "established\n"
                              "shutdown; out FA seq 1 ack 1; state FIN_WAIT_1\n"
                              "in A seq 1 ack 2; state FIN_WAIT_2; idle\n"
                              "in FA seq 1 ack 2; out A seq 2 ack 2; end; closed done\n"
                              "in FA seq 1 ack 2; out A seq 2 ack 2\n"
                              "at +59999; none; in FA seq 1 ack 2; out A seq 2 ack 2\n"
                              "at +60000; none; idle\n"
                              "in FA seq 1 ack 2; out R seq 2\n")

SCRIPT(both_end_at_once, "established\n"
                         "shutdown; out FA seq 1 ack 1\n"
                         "in FA seq 1 ack 1; out A seq 2 ack 2; state CLOSING\n"
                         "in A seq 2 ack 2; closed done; at +60000; idle\n")

SCRIPT(their_end_may_acknowledge_ours, "established\n"
                                       "shutdown; out FA seq 1 ack 1\n"
                                       "in FA seq 1 ack 2; out A seq 2 ack 2; closed done\n")

SCRIPT(after_our_end_they_may_go_on,
       "established\n"
       "shutdown; out FA seq 1 ack 1; in A seq 1 ack 2\n"
       "in PA seq 1 ack 2 len 500; got 500; at +10; out A seq 2 ack 501; read all\n"
       "at +3600000; none; state FIN_WAIT_2\n"
       "in PA seq 501 ack 2 len 5; got 5; at +10; out A ack 506; read all\n"
       "in FA seq 506 ack 2; out A ack 507; closed done\n")

SCRIPT(the_end_goes_with_the_last_data, "established\n"
                                        "write 10; out PA seq 1 len 10; write 100 more; none\n"
                                        "shutdown; out FPA seq 11 len 100; state FIN_WAIT_1\n"
                                        "in A seq 1 ack 112; state FIN_WAIT_2\n")

SCRIPT(a_lost_end_is_repeated, "established\n"
                               "shutdown; out FA seq 1\n"
                               "at +199; none; at +1; out FA seq 1\n"
                               "at +399; none; at +1; out FA seq 1\n"
                               "in A seq 1 ack 2; state FIN_WAIT_2; idle\n")

SCRIPT(data_after_we_let_go_is_reset, "established\n"
                                      "close; out FA seq 1 ack 1; in A seq 1 ack 2\n"
                                      "in PA seq 1 ack 2 len 10; out RA seq 2 ack 1; state gone; idle\n")

SCRIPT(letting_go_with_unread_data_is_a_reset, "established\n"
                                               "in PA seq 1 ack 1 len 10; at +10; out A ack 11\n"
                                               "close; out RA seq 1 ack 11; state gone; idle\n")

SCRIPT(what_we_let_go_ends_by_itself, "established\n"
                                      "write 50; close; out PA seq 1 len 50; out FA seq 51\n"
                                      "in A seq 1 ack 52; in FA seq 1 ack 52; out A ack 2; state gone\n"
                                      "at +60000; idle\n")

SCRIPT(a_peer_that_never_ends_is_not_waited_for,
       "established\n"
       "close; out FA seq 1; in A seq 1 ack 2\n"
       "at +59999; state FIN_WAIT_2; at +1; state gone; none; idle\n")

SCRIPT(closed_waits_for_the_reader, "established\n"
                                    "in FPA seq 1 ack 1 len 10; out A ack 12; got 10\n"
                                    "shutdown; out FA seq 1 ack 12; in A seq 12 ack 2; state FINISHED\n"
                                    "got 10; read 4; at +0; got 6; state FINISHED\n"
                                    "read 6; at +0; closed done; idle\n")

SCRIPT(an_abort_is_a_reset, "established\n"
                            "write 10; out PA seq 1 len 10; abort; out RA seq 11 ack 1; state gone; idle\n")

SCRIPT(a_new_connection_may_follow_in_time_wait,
       "established\n"
       "shutdown; out FA seq 1; in FA seq 1 ack 2; out A seq 2 ack 2\n"
       "in R seq 2; none\n"
       "in S seq 1; out A seq 2 ack 2\n"
       "in S seq 100000 mss 1240; skip\n"
       "count time_wait_reused 1; count syns_in 2\n"
       "at +60000; skip\n")

/* ---- resets and guesses (RFC 5961)
 * -------------------------------------------------------------------------- */

SCRIPT(only_the_exact_number_resets, "established\n"
                                     "in R seq 100; out A seq 1 ack 1; state ESTABLISHED\n"
                                     "in R seq 100000; none; state ESTABLISHED\n"
                                     "in R seq 1; closed reset; none; idle\n")

SCRIPT(a_syn_in_an_open_connection_is_challenged, "established\n"
                                                  "in S seq 5000; out A seq 1 ack 1; state ESTABLISHED\n"
                                                  "in SA seq 1 ack 1; out A seq 1 ack 1; state ESTABLISHED\n"
                                                  "count challenge_acks 2\n")

SCRIPT(an_ack_of_the_future_is_challenged, "established\n"
                                           "in PA seq 1 ack 5000 len 10; out A seq 1 ack 1; got 0\n")

SCRIPT(challenges_are_rationed, "established\n"
                                "in S seq 5000 x15; out A ack 1 x10; none\n"
                                "count challenge_limited 5\n"
                                "at +200; in S seq 5000 x3; out A ack 1 x2; none\n")

SCRIPT(what_belongs_to_nothing_is_reset, "in A seq 5 ack 77; out R seq 77\n"
                                         "in F seq 5; out RA ack 6\n"
                                         "in PA seq 5 ack 9 len 10; out R seq 9\n"
                                         "in R seq 5; none; in RA seq 5 ack 5; none; idle\n")

SCRIPT(a_bad_checksum_is_dropped, "established\n"
                                  "in PA seq 1 ack 1 len 10 bad; none; got 0\n"
                                  "count checksum_bad 1\n")

/* ---- timestamps (RFC 7323)
 * ------------------------------------------------------------------------------------- */

SCRIPT(old_timestamps_are_dropped,
       "full\n"
       "in PA seq 1 ack 1 len 10 ts 101 win 512; at +10; out A ack 11 tsecr 101; got 10\n"
       "in PA seq 11 ack 1 len 10 ts 50 win 512; out A ack 11 tsecr 101; got 10\n"
       "count paws_dropped 1\n")

SCRIPT(a_segment_without_timestamp_is_dropped, "full\n"
                                               "in PA seq 1 ack 1 len 10; none; got 0\n"
                                               "in R seq 1; closed reset\n")

SCRIPT(a_timestamp_from_behind_a_hole_is_not_echoed,
       "full\n"
       "in PA seq 11 ack 1 len 10 ts 120 win 512; out A ack 1 tsecr 100 sack 11-21\n"
       "in PA seq 1 ack 1 len 10 ts 110 win 512; out A ack 21 tsecr 110\n")

/* ---- receiving
 * ----------------------------------------------------------------------------------------------------- */

SCRIPT(a_lone_segment_is_acknowledged_after_a_while, "established; slow\n"
                                                     "in PA seq 1 ack 1 len 1240; none; read all\n"
                                                     "at +39; none; at +1; out A seq 1 ack 1241\n"
                                                     "count acks_delayed 1; idle\n")

SCRIPT(full_segments_are_acknowledged_at_once_at_first, "established\n"
                                                        "in A seq 1 ack 1 len 1240; out A ack 1241\n"
                                                        "in A seq 1241 ack 1 len 1240; out A ack 2481\n")

SCRIPT(an_answer_acknowledges_the_first_request, "established\n"
                                                 "in PA seq 1 ack 1 len 90; none; read all; at +9; none\n"
                                                 "write 300; out PA seq 1 ack 91 len 300; at +40; none\n"
                                                 "count acks_delayed 0\n")

SCRIPT(a_first_request_without_answer_is_acknowledged_soon, "established\n"
                                                            "in PA seq 1 ack 1 len 90; none; read all\n"
                                                            "at +9; none; at +1; out A seq 1 ack 91\n"
                                                            "count acks_delayed 1\n")

SCRIPT(what_follows_a_first_request_is_acknowledged_at_once, "established\n"
                                                             "in PA seq 1 ack 1 len 90; none\n"
                                                             "in PA seq 91 ack 1 len 20; out A ack 111\n")

SCRIPT(two_segments_are_acknowledged_at_once, "established; slow\n"
                                              "in PA seq 1 ack 1 len 1240; none\n"
                                              "in PA seq 1241 ack 1 len 1240; out A ack 2481\n")

SCRIPT(a_batch_is_acknowledged_once, "established; slow\n"
                                     "batch; in A seq 1 ack 1 len 1240 x20; end\n"
                                     "out A ack 24801; none; got 24800\n")

SCRIPT(data_carries_the_acknowledgement, "established; slow\n"
                                         "in PA seq 1 ack 1 len 100; none; read all\n"
                                         "write 50; out PA seq 1 ack 101 len 50\n"
                                         "in A seq 101 ack 51; at +1000; none; idle\n")

SCRIPT(holes_are_reported,
       "full\n"
       "in A seq 1241 ack 1 len 100 ts 101 win 512; out A ack 1 sack 1241-1341\n"
       "in A seq 2000 ack 1 len 50 ts 101 win 512; out A ack 1 sack 2000-2050,1241-1341\n"
       "in A seq 1341 ack 1 len 9 ts 101 win 512; out A ack 1 sack 1241-1350,2000-2050\n"
       "in A seq 1 ack 1 len 1240 ts 101 win 512; out A ack 1350 sack 2000-2050; got 1349\n"
       "in A seq 1350 ack 1 len 650 ts 101 win 512; out A ack 2050; got 2049\n")

SCRIPT(duplicates_are_reported,
       "full\n"
       "in A seq 1 ack 1 len 100 ts 101 win 512; at +10; out A ack 101\n"
       "in A seq 1 ack 1 len 100 ts 101 win 512; out A ack 101 sack 1-101\n"
       "in A seq 51 ack 1 len 100 ts 101 win 512; out A ack 151 sack 51-101; got 150\n"
       "in A seq 201 ack 1 len 50 ts 101 win 512; out A ack 151 sack 201-251\n"
       "in A seq 201 ack 1 len 50 ts 101 win 512; out A ack 151 sack 201-251,201-251\n")

SCRIPT(without_sack_every_stray_segment_is_answered, "established; slow\n"
                                                     "batch; in A seq 1241 ack 1 len 1240 x3; end\n"
                                                     "out A ack 1 x3; none\n"
                                                     "in A seq 1 ack 1 len 1240; out A ack 4961; got 4960\n")

SCRIPT(an_early_end_waits_for_what_is_missing,
       "established\n"
       "in FPA seq 101 ack 1 len 10; out A ack 1; state ESTABLISHED\n"
       "in A seq 1 ack 1 len 100; out A ack 112; got 110; state CLOSE_WAIT\n"
       "read all; end\n")

SCRIPT(overlapping_pieces_make_one_whole,
       "full\n"
       "in A seq 101 ack 1 len 100 ts 101 win 512; skip\n"
       "in A seq 301 ack 1 len 100 ts 101 win 512; skip\n"
       "in A seq 151 ack 1 len 200 ts 101 win 512; out A ack 1 sack 101-401\n"
       "in A seq 1 ack 1 len 150 ts 101 win 512; out A ack 401; got 400\n")

SCRIPT(the_window_closes_and_opens,
       "established\n"
       "batch; in A seq 1 ack 1 len 1240 x52; end; out A ack 64481 win 1056\n"
       "in PA seq 64481 ack 1 len 1056; none; at +40; out A ack 65537 win 0; got 65536\n"
       "in PA seq 65537 ack 1 len 1; out A ack 65537 win 0; got 65536\n"
       "in A seq 65536 ack 1; out A ack 65537 win 0\n"
       "read 1000; none; read 1000; none; read 1000; out A ack 65537 win 3000\n")

/* ---- sending
 * -----------------------------------------------------------------------------------------------------------
 */

SCRIPT(ten_segments_go_at_first, "full\n"
                                 "write 20000; out A seq 1 len 1228 x10; none\n"
                                 "in A seq 1 ack 2457 ts 101 win 512; out A seq 12281 len 1228 x4; none\n"
                                 "cwnd = 12\n")

SCRIPT(small_writes_go_at_once, "established\n"
                                "write 100; out PA seq 1 len 100; write 50; out PA seq 101 len 50\n")

SCRIPT(more_waits_while_something_is_on_its_way, "established\n"
                                                 "write 10; out PA seq 1 len 10\n"
                                                 "write 100 more; none; write 50 more; none\n"
                                                 "in A seq 1 ack 11; out PA seq 11 len 150\n")

SCRIPT(a_scaled_window_is_kept_to, "full\n"
                                   "in A seq 1 ack 1 ts 101 win 20\n"
                                   "write 5000; out A seq 1 len 1228 x2; none\n"
                                   "in A seq 1 ack 2457 ts 101 win 10; out A seq 2457 len 1228; none\n"
                                   "in A seq 1 ack 3685 ts 101 win 512; out A seq 3685 len 1228\n"
                                   "out PA seq 4913 len 88\n")

SCRIPT(a_shut_window_is_probed_until_it_opens, "established\n"
                                               "in A seq 1 ack 1 win 0; write 1000; none\n"
                                               "at +199; none; at +1; out A seq 0 ack 1\n"
                                               "in A seq 1 ack 1 win 0; none\n"
                                               "at +399; none; at +1; out A seq 0 ack 1\n"
                                               "in A seq 1 ack 1 win 2000; out PA seq 1 len 1000\n"
                                               "in A seq 1 ack 1001; idle\n")

SCRIPT(an_end_waits_for_the_window_too, "established\n"
                                        "in A seq 1 ack 1 win 0; shutdown; none\n"
                                        "at +200; out A seq 0 ack 1; in A seq 1 ack 1 win 100; out FA seq 1\n"
                                        "in A seq 1 ack 2; state FIN_WAIT_2; idle\n")

SCRIPT(a_peer_that_does_not_answer_probes_is_dead, "established\n"
                                                   "in A seq 1 ack 1 win 0; write 1000; none\n"
                                                   "at +130000; skip; at +60000; skip; closed timed; idle\n")

SCRIPT(a_silent_peer_is_given_up_after_two_minutes, "established\n"
                                                    "write 100; out PA seq 1 len 100\n"
                                                    "at +119000; skip; state ESTABLISHED\n"
                                                    "at +61000; skip; closed timed; idle\n")

SCRIPT(a_small_mss_is_obeyed_within_reason, "in S seq 0 mss 300; out SA seq 0; in A seq 1 ack 1\n"
                                            "write 1000; out A seq 1 len 300 x3; out PA seq 901 len 100\n")

SCRIPT(a_tiny_mss_is_not_believed, "in S seq 0 mss 1; out SA seq 0; in A seq 1 ack 1\n"
                                   "write 128; out A seq 1 len 64; out PA seq 65 len 64\n")

SCRIPT(too_big_makes_packets_smaller, "established\n"
                                      "write 6200; out A seq 1 len 1240 x4; out PA len 1240\n"
                                      "icmp too-big 600 seq 90000; none\n"
                                      "icmp too-big 600; out A seq 1 len 560; skip\n")

SCRIPT(nonsense_about_the_mtu_has_a_floor,
       "established\n"
       "write 1240; out PA seq 1 len 1240\n"
       "icmp too-big 68; out A seq 1 len 536 x2; out PA seq 1073 len 168\n")

SCRIPT(after_a_pause_the_window_is_small_again,
       "full\n"
       "write 12280; out A seq 1 len 1228 x9; out PA len 1228\n"
       "in A seq 1 ack 12281 ts 101 win 512\n"
       "write 24560; skip; in A seq 1 ack 36841 ts 102 win 512; cwnd > 20\n"
       "idle; at +60000\n"
       "write 20000; out A seq 36841 len 1228 x10; none\n")

/* ---- loss
 * ----------------------------------------------------------------------------------------------------------------
 */

SCRIPT(three_segments_above_a_hole_mean_loss,
       "far\n"
       "write 12280; out A seq 1 len 1228 x9; out PA seq 11053 len 1228; at +20\n"
       "in A seq 1 ack 1 ts 140 win 512 sack 1229-2457; none\n"
       "in A seq 1 ack 1 ts 140 win 512 sack 1229-3685; none\n"
       "in A seq 1 ack 1 ts 140 win 512 sack 1229-4913; out A seq 1 len 1228\n"
       "count recoveries 1; count retransmits 1; cwnd < 10\n"
       "in A seq 1 ack 12281 ts 160 win 512; idle\n"
       "cwnd = 7; count recoveries_spurious 0\n")

SCRIPT(one_segment_above_a_hole_means_loss_after_a_while,
       "far\n"
       "write 12280; skip; at +20\n"
       "in A seq 1 ack 1 ts 140 win 512 sack 1229-2457; none\n"
       "at +4; none; at +3; out A seq 1 len 1228; count recoveries 1\n")

SCRIPT(what_only_came_late_is_not_lost, "far\n"
                                        "write 12280; skip; at +20\n"
                                        "in A seq 1 ack 1 ts 140 win 512 sack 1229-2457; none\n"
                                        "at +3; in A seq 1 ack 2457 ts 143 win 512; none\n"
                                        "count recoveries 0; cwnd = 11\n")

SCRIPT(several_losses_are_repaired_in_one_episode,
       "far\n"
       "write 12280; skip; at +20\n"
       "in A seq 1 ack 1 ts 140 win 512 sack 1229-2457,3685-12281\n"
       "out A seq 1 len 1228; out A seq 2457 len 1228\n"
       "at +20; in A seq 1 ack 12281 ts 160 win 512; count recoveries 1; idle\n")

SCRIPT(a_repeat_that_is_lost_is_repeated,
       "far\n"
       "write 20000; skip; at +20\n"
       "in A seq 1 ack 1 ts 140 win 512 sack 1229-4913; out A seq 1 len 1228; skip\n"
       "at +20; in A seq 1 ack 1 ts 160 win 512 sack 1229-12281; skip\n"
       "at +21; in A seq 1 ack 1 ts 181 win 512 sack 1229-17193\n"
       "out A seq 1 len 1228; skip; count timeouts 0\n")

SCRIPT(the_tail_is_probed, "far\n"
                           "write 3684; out A seq 1 len 1228 x2; out PA seq 2457 len 1228\n"
                           "at +39; none; at +3; out PA seq 2457 len 1228; count tail_probes 1\n"
                           "at +20; in A seq 1 ack 1 ts 180 win 512 sack 2457-3685\n"
                           "skip; at +100; skip; count timeouts 0; count recoveries 1\n")

SCRIPT(an_unneeded_probe_costs_nothing, "far\n"
                                        "write 3684; skip; at +42; out PA seq 2457 len 1228\n"
                                        "in A seq 1 ack 3685 ts 162 win 512\n"
                                        "in A seq 1 ack 3685 ts 162 win 512 sack 2457-3685\n"
                                        "cwnd = 10; idle\n")

SCRIPT(a_timeout_starts_over, "far\n"
                              "write 100; out PA seq 1 len 100\n"
                              "at +219; none; at +1; out PA seq 1 len 100; cwnd = 1\n"
                              "count stalls 0\n"
                              "at +439; none; at +1; out PA seq 1 len 100; count timeouts 2\n"
                              "count stalls 1; at +900; out PA seq 1 len 100; count stalls 1\n"
                              "in A seq 1 ack 101 ts 900 win 512; idle\n")

SCRIPT(a_timeout_that_was_for_nothing_is_undone, "far\n"
                                                 "write 12280; skip; at +42; skip\n"
                                                 "at +250; skip; count timeouts 1; cwnd = 1\n"
                                                 "in A seq 1 ack 2457 ts 140/-250 win 512; skip\n"
                                                 "count recoveries_spurious 1; cwnd > 8\n")

SCRIPT(an_episode_for_nothing_is_undone,
       "far\n"
       "write 12280; skip; at +20\n"
       "in A seq 1 ack 1 ts 140 win 512 sack 1229-4913; out A seq 1 len 1228; cwnd < 10\n"
       "in A seq 1 ack 4913 ts 141/-20 win 512; skip\n"
       "count recoveries_spurious 1\n"
       "in A seq 1 ack 12281 ts 150 win 512; cwnd > 8\n")

SCRIPT(duplicates_reported_undo_an_episode,
       "option timestamps=off\n"
       "in S seq 0 mss 1240 sackok scale 7; out SA seq 0 sackok; at +20; in A seq 1 ack 1 win 512\n"
       "write 12400; skip; at +20\n"
       "in A seq 1 ack 1 win 512 sack 1241-4961; out A seq 1 len 1240\n"
       "in A seq 1 ack 4961 win 512; skip; count recoveries_spurious 0\n"
       "in A seq 1 ack 4961 win 512 sack 1-1241; skip; count recoveries_spurious 1\n")

SCRIPT(without_sack_three_duplicates_mean_loss,
       "established\n"
       "write 12400; out A seq 1 len 1240 x9; out PA len 1240\n"
       "in A seq 1 ack 1 x2; none; in A seq 1 ack 1; out A seq 1 len 1240; none\n"
       "in A seq 1 ack 2481; out A seq 2481 len 1240\n"
       "in A seq 1 ack 12401; count recoveries 1; count retransmits 2; idle\n")

SCRIPT(a_window_update_is_no_duplicate,
       "established\n"
       "write 12400; skip\n"
       "in A seq 1 ack 1 win 60000; in A seq 1 ack 1 win 61000; in A seq 1 ack 1 win 62000; none\n")

SCRIPT(what_was_taken_back_is_sent_again,
       "far\n"
       "write 3684; skip; at +20\n"
       "in A seq 1 ack 1 ts 140 win 512 sack 1229-3685; skip; at +6; skip\n"
       "in A seq 1 ack 1229 ts 150 win 512; at +600; skip\n"
       "in A seq 1 ack 3685 ts 900 win 512; idle\n")

/* ---- others
 * -------------------------------------------------------------------------------------------------------------
 */

SCRIPT(keepalive_finds_the_dead,
       "option keepalive=60\n"
       "established; at +59999; none; at +1; out A seq 0 ack 1\n"
       "in A seq 1 ack 1; at +59999; none; at +1; out A seq 0 ack 1\n"
       "at +75000; out A seq 0 ack 1; at +75000; out A seq 0; at +75000; out A seq 0\n"
       "at +75000; out A seq 0; at +75000; out A seq 0; at +75000; out A seq 0\n"
       "at +75000; out A seq 0; at +75000; out A seq 0; state ESTABLISHED\n"
       "at +75000; out RA seq 1; closed timed; idle\n")

SCRIPT(the_oldest_half_open_connection_is_shed, "option half_open=2\n"
                                                "in S seq 0 port 5001; out SA; in S seq 0 port 5002; out SA\n"
                                                "in S seq 0 port 5003; out SA; count syns_shed 1\n"
                                                "in A seq 1 ack 1 port 5001; out R\n"
                                                "in A seq 1 ack 1 port 5003; skip; count conns_accepted 0\n")

SCRIPT(too_many_connections_are_met_with_silence, "option conns=1\n"
                                                  "established; in S seq 0 port 5001; none\n"
                                                  "count conns_refused_limit 1\n")

SCRIPT(a_relay_makes_the_window_small, "full\n"
                                       "write 12280; skip; in A seq 1 ack 12281 ts 101 win 512\n"
                                       "write 24560; skip; cwnd = 20\n"
                                       "path relay; cwnd = 10; skip\n")

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(only_what_was_offered_is_used),
    cmocka_unit_test(every_option_offered_is_answered),
    cmocka_unit_test(switches_keep_options_away),
    cmocka_unit_test(ipv6_has_its_own_mss),
    cmocka_unit_test(sequence_numbers_may_wrap),
    cmocka_unit_test(a_refused_attempt_gets_a_reset),
    cmocka_unit_test(a_dropped_attempt_gets_nothing),
    cmocka_unit_test(a_deferred_attempt_waits_for_its_answer),
    cmocka_unit_test(a_deferred_attempt_may_be_refused),
    cmocka_unit_test(nobody_defers_for_ever),
    cmocka_unit_test(a_syn_ack_is_repeated_ever_more_slowly_and_given_up),
    cmocka_unit_test(a_repeated_syn_makes_no_second_connection),
    cmocka_unit_test(another_syn_from_the_port_replaces_the_first),
    cmocka_unit_test(an_ack_of_something_else_does_not_open),
    cmocka_unit_test(a_reset_ends_a_half_open_connection),
    cmocka_unit_test(data_may_come_with_the_last_ack),
    cmocka_unit_test(an_end_may_come_with_the_last_ack),
    cmocka_unit_test(we_connect),
    cmocka_unit_test(a_syn_is_repeated_ever_more_slowly_and_given_up),
    cmocka_unit_test(a_refused_connection_says_so),
    cmocka_unit_test(an_answer_to_another_syn_is_reset),
    cmocka_unit_test(both_may_open_at_once),
    cmocka_unit_test(an_end_before_the_handshake_follows_it),
    cmocka_unit_test(a_port_unreachable_ends_only_what_is_not_open),
    cmocka_unit_test(a_port_unreachable_does_not_hurt_an_open_connection),
    cmocka_unit_test(they_end_first),
    cmocka_unit_test(we_end_first_and_wait),
    cmocka_unit_test(both_end_at_once),
    cmocka_unit_test(their_end_may_acknowledge_ours),
    cmocka_unit_test(after_our_end_they_may_go_on),
    cmocka_unit_test(the_end_goes_with_the_last_data),
    cmocka_unit_test(a_lost_end_is_repeated),
    cmocka_unit_test(data_after_we_let_go_is_reset),
    cmocka_unit_test(letting_go_with_unread_data_is_a_reset),
    cmocka_unit_test(what_we_let_go_ends_by_itself),
    cmocka_unit_test(a_peer_that_never_ends_is_not_waited_for),
    cmocka_unit_test(closed_waits_for_the_reader),
    cmocka_unit_test(an_abort_is_a_reset),
    cmocka_unit_test(a_new_connection_may_follow_in_time_wait),
    cmocka_unit_test(only_the_exact_number_resets),
    cmocka_unit_test(a_syn_in_an_open_connection_is_challenged),
    cmocka_unit_test(an_ack_of_the_future_is_challenged),
    cmocka_unit_test(challenges_are_rationed),
    cmocka_unit_test(what_belongs_to_nothing_is_reset),
    cmocka_unit_test(a_bad_checksum_is_dropped),
    cmocka_unit_test(old_timestamps_are_dropped),
    cmocka_unit_test(a_segment_without_timestamp_is_dropped),
    cmocka_unit_test(a_timestamp_from_behind_a_hole_is_not_echoed),
    cmocka_unit_test(a_lone_segment_is_acknowledged_after_a_while),
    cmocka_unit_test(full_segments_are_acknowledged_at_once_at_first),
    cmocka_unit_test(an_answer_acknowledges_the_first_request),
    cmocka_unit_test(a_first_request_without_answer_is_acknowledged_soon),
    cmocka_unit_test(what_follows_a_first_request_is_acknowledged_at_once),
    cmocka_unit_test(two_segments_are_acknowledged_at_once),
    cmocka_unit_test(a_batch_is_acknowledged_once),
    cmocka_unit_test(data_carries_the_acknowledgement),
    cmocka_unit_test(holes_are_reported),
    cmocka_unit_test(duplicates_are_reported),
    cmocka_unit_test(without_sack_every_stray_segment_is_answered),
    cmocka_unit_test(an_early_end_waits_for_what_is_missing),
    cmocka_unit_test(overlapping_pieces_make_one_whole),
    cmocka_unit_test(the_window_closes_and_opens),
    cmocka_unit_test(ten_segments_go_at_first),
    cmocka_unit_test(small_writes_go_at_once),
    cmocka_unit_test(more_waits_while_something_is_on_its_way),
    cmocka_unit_test(a_scaled_window_is_kept_to),
    cmocka_unit_test(a_shut_window_is_probed_until_it_opens),
    cmocka_unit_test(an_end_waits_for_the_window_too),
    cmocka_unit_test(a_peer_that_does_not_answer_probes_is_dead),
    cmocka_unit_test(a_silent_peer_is_given_up_after_two_minutes),
    cmocka_unit_test(a_small_mss_is_obeyed_within_reason),
    cmocka_unit_test(a_tiny_mss_is_not_believed),
    cmocka_unit_test(too_big_makes_packets_smaller),
    cmocka_unit_test(nonsense_about_the_mtu_has_a_floor),
    cmocka_unit_test(after_a_pause_the_window_is_small_again),
    cmocka_unit_test(three_segments_above_a_hole_mean_loss),
    cmocka_unit_test(one_segment_above_a_hole_means_loss_after_a_while),
    cmocka_unit_test(what_only_came_late_is_not_lost),
    cmocka_unit_test(several_losses_are_repaired_in_one_episode),
    cmocka_unit_test(a_repeat_that_is_lost_is_repeated),
    cmocka_unit_test(the_tail_is_probed),
    cmocka_unit_test(an_unneeded_probe_costs_nothing),
    cmocka_unit_test(a_timeout_starts_over),
    cmocka_unit_test(a_timeout_that_was_for_nothing_is_undone),
    cmocka_unit_test(an_episode_for_nothing_is_undone),
    cmocka_unit_test(duplicates_reported_undo_an_episode),
    cmocka_unit_test(without_sack_three_duplicates_mean_loss),
    cmocka_unit_test(a_window_update_is_no_duplicate),
    cmocka_unit_test(what_was_taken_back_is_sent_again),
    cmocka_unit_test(keepalive_finds_the_dead),
    cmocka_unit_test(the_oldest_half_open_connection_is_shed),
    cmocka_unit_test(too_many_connections_are_met_with_silence),
    cmocka_unit_test(a_relay_makes_the_window_small),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
