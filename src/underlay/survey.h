/* underlay/survey.h - which relay regions are near, measured once for all shards of a process
 *
 * Every socket has a NAT mapping of its own and asks for it; how far a relay is, is the same for all of them.
 * So the sockets that have one DERP map in common sit at one table: the first to sit down, the surveyor,
 * measures its regions and publishes each report to the others by letter. They choose nothing themselves, so
 * that all nodes have the same home. When the surveyor leaves, the next one in order takes over.
 *
 * Thread: any. One lock, held for a list operation or a copy of a report; never on the way of a packet.
 * Without a survey (tests, a program with one socket) every seat is its own surveyor.
 */
#ifndef MANYTAILS_UNDERLAY_SURVEY_H
#define MANYTAILS_UNDERLAY_SURVEY_H

#include "underlay/underlay.h"

struct survey_table;

/* One socket at one table. Embedded in its owner; all zero: no survey. */
struct survey_seat {
    struct list link;
    struct survey_table *table;
    struct ev_mailbox *mailbox; /* where this seat gets its letters */
};

enum survey_letter_kind {
    SURVEY_REPORT,   /* the surveyor has measured */
    SURVEY_ASK,      /* to the surveyor: measure, somebody has reason to */
    SURVEY_TAKE_OVER /* you are the surveyor now */
};

struct survey_letter {
    struct ev_letter base;
    enum survey_letter_kind kind;
    uint8_t digest[BLAKE2S_BYTES]; /* of the map */
    struct underlay_report report; /* SURVEY_REPORT */
};

/* Sits down; survey NULL: fine. -ENOMEM. */
NODISCARD int survey_join(struct underlay_survey *survey, struct survey_seat *seat,
                          const uint8_t digest[BLAKE2S_BYTES], struct ev_mailbox *mailbox);
void survey_leave(struct underlay_survey *survey, struct survey_seat *seat);

bool survey_is_surveyor(struct underlay_survey *survey, const struct survey_seat *seat);
/* The last report; false: there is none yet. */
bool survey_read(struct underlay_survey *survey, const struct survey_seat *seat, struct underlay_report *out);
/* The surveyor's: keeps a copy and sends one to every other seat. */
void survey_publish(struct underlay_survey *survey, struct survey_seat *seat,
                    const struct underlay_report *report);
/* Asks the surveyor to measure, unless the last report is younger than `age` or somebody has just asked. */
void survey_ask(struct underlay_survey *survey, struct survey_seat *seat, time_ns age, time_ns now);

/* A relay spoke to a node of this seat: evidence for the surveyor. */
void survey_heard(struct underlay_survey *survey, struct survey_seat *seat, uint16_t region, time_ns now);
/* When a region was heard last by any seat; INT64_MIN: never. */
time_ns survey_heard_at(struct underlay_survey *survey, const struct survey_seat *seat, uint16_t region);

#endif
