/* The indices by which messages find their handshake or key.
 *
 * index = permute(slot << 10 | generation) << shard_bits | shard. The permutation is keyed (values
 * look random to others), the slot makes a look-up one array access, and the generation changes at
 * every use. When it has been round, the slot rests for INDEX_REST: so no index value comes back
 * sooner, while one busy slot serves 1,024 handshakes at once.
 */
#ifndef MANYTAILS_WIREGUARD_INDEX_H
#define MANYTAILS_WIREGUARD_INDEX_H

#include "wireguard/wireguard.h"

#define INDEX_BITS 32
#define INDEX_GENERATION_BITS 10
#define INDEX_REST (360 * SEC) /* twice RejectAfterTime */

enum index_kind { INDEX_FREE, INDEX_HANDSHAKE, INDEX_KEYPAIR };

struct index_entry {
    union {
        void *owner;         /* while used */
        time_ns rests_until; /* while resting */
    };
    uint32_t next; /* slot + 1, in the free or the resting list */
    uint16_t generation;
    uint8_t kind;
};

struct index_table {
    struct index_entry *entries;
    uint32_t count, room, used; /* slots that exist, slots allocated, slots in use */
    uint32_t free_head;         /* slot + 1 */
    uint32_t rest_head, rest_tail;
    unsigned shard, shard_bits;
    uint64_t keys[4];
};

void index_table_init(struct index_table *t, unsigned shard, unsigned shard_bits, const uint64_t keys[4]);
void index_table_deinit(struct index_table *t);
/* 0, WIREGUARD_E_FULL, -ENOMEM */
NODISCARD int index_alloc(struct index_table *t, enum index_kind kind, void *owner, time_ns now,
                          uint32_t *out);
void index_set(struct index_table *t, uint32_t index, enum index_kind kind, void *owner); /* it is used */
void index_release(struct index_table *t, uint32_t index, time_ns now);                   /* it is used */
/* NULL: nobody has it. */
void *index_get(const struct index_table *t, uint32_t index, enum index_kind *kind);
static inline bool index_is_here(const struct index_table *t, uint32_t index)
{
    return (index & (BIT(t->shard_bits) - 1)) == t->shard;
}

#endif
