/* filter/flows.h - UDP and SCTP flows that we began: answers to them pass without a rule (inside filter/) */
#ifndef MANYTAILS_FILTER_FLOWS_H
#define MANYTAILS_FILTER_FLOWS_H

#include "filter/filter.h"

/* Is the inbound packet an answer? Then its flow is the youngest again. */
bool flows_touch(struct filter_flows *t, const struct packet_info *in, uint64_t seed);
/* An outbound packet: its flow is the youngest. Allocates at first use; without memory nothing happens. */
void flows_remember(struct filter_flows **t, const struct packet_info *out, uint64_t seed);
void flows_free(struct filter_flows *t);
size_t flows_memory(const struct filter_flows *t); /* bytes of the heap; NULL is fine */
size_t flows_count(const struct filter_flows *t);

#endif
