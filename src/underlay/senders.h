/* underlay/senders.h - whose disco messages may be for which of our nodes, and the keys to try
 *
 * A disco message says in clear who sent it, not whom it is for. One entry per sender's disco key holds
 * a bit for every node that knows the sender, and the box keys already made for (node, sender). Finding
 * the node means trying keys. Heartbeats of a peer come round in the same order again and again, so the
 * key that followed the last match the time before is tried first, then the one used last, then the
 * others, latest first; then nodes without a key yet, which costs an X25519 each and has a budget. Pings
 * and pongs come in orders of their own; their lengths tell them apart. Who forges messages of a known
 * sender uses up that sender's share of long searches, and some of a common one, not everybody's time.
 */
#ifndef MANYTAILS_UNDERLAY_SENDERS_H
#define MANYTAILS_UNDERLAY_SENDERS_H

#include "disco/disco.h"
#include "underlay/underlay.h"

#define SENDERS_SHORT_SEARCH 4               /* keys tried when searches are rationed */
#define SENDERS_FAILED_SEARCHES_PER_SEC 50   /* of one sender, burst of one second */
#define SENDERS_FAILED_TRIALS_PER_SEC 100000 /* of all, about a twentieth of a core; same burst */
#define SENDERS_RELAYED_CONTACTS_PER_SEC 200 /* X25519 for messages that a relay brought to one node */

/* A budget of time: spending outruns the clock by at most a second (generic cell rate algorithm). */
struct budget {
    time_ns at; /* when all that was spent is paid back */
};
static inline bool budget_empty(const struct budget *b, time_ns now)
{
    return b->at - now >= SEC;
}
static inline void budget_spend(struct budget *b, time_ns now, time_ns cost)
{
    b->at = MAX(b->at, now) + cost;
}

/* Messages that ask us, and messages that answer us. */
enum search_order { ORDER_ASKING, ORDER_ANSWERS, ORDERS };

struct sender {
    struct table_node link;
    struct public_key key;
    uint32_t refs;        /* peers that point here */
    uint32_t known_count; /* bits set */
    uint32_t box_count;
    uint32_t word_count;
    uint64_t *nodes;           /* bit per node index */
    struct list boxes[ORDERS]; /* latest use last */
    struct box *expected[ORDERS];
    struct budget failed;
};

/* The key of one (node, sender). */
struct box {
    struct table_node link;
    struct list order[ORDERS], by_age;
    struct sender *sender;
    uint32_t node;
    uint8_t key[KEY_BYTES];
};

struct senders {
    struct table table, box_table;
    struct slab boxes;
    struct list by_age; /* all boxes, oldest use first */
    uint8_t hash_key[16];
    struct budget first_contacts, relayed_contacts, failed;
};

void senders_init(struct senders *s, const uint8_t hash_key[16]);
void senders_deinit(struct senders *s); /* wipes the keys */

struct sender *senders_find(const struct senders *s, const struct public_key *disco_key);
/* Finds or makes it and adds a reference. -ENOSPC, -ENOMEM. */
NODISCARD int senders_ref(struct senders *s, const struct public_key *disco_key, struct sender **out);
void senders_unref(struct senders *s, struct sender *sender); /* NULL is fine */

/* The node knows this sender, or does not any more. -ENOSPC, -ENOMEM (only for known). */
NODISCARD int senders_set_known(struct senders *s, const struct public_key *disco_key, uint32_t node,
                                bool known);
bool senders_known(const struct sender *sender, uint32_t node);
void senders_forget_node(struct senders *s, uint32_t node);

/* The box of this pair, made if need be; NULL: hostile key, or no memory. */
struct box *senders_box(struct senders *s, struct sender *sender, uint32_t node,
                        const struct secret_key *secret, struct underlay_counters *counters);
/* We ask this sender as this node: its answer is expected. */
void senders_asking(struct senders *s, struct box *b);

/* Finds the node that the message is for. secret_of: the disco secret of a node index. NULL: none. */
struct search {
    const struct disco_envelope *envelope;
    struct mspan room;
    const struct secret_key *(*secret_of)(void *ctx, uint32_t node);
    void *ctx;
    struct underlay_counters *counters;
    time_ns now;
    struct span inner; /* out */
};
struct box *senders_search(struct senders *s, struct sender *sender, struct search *search);
/* The same when the node is given (a relay's delivery). */
struct box *senders_open(struct senders *s, struct sender *sender, uint32_t node, struct search *search);

#endif
