/* lab/map.h - map responses: the tailnet as one node is told of it (docs/protocol/control.md)
 *
 * Pure: registry in, JSON out. A whole map first, then deltas that say what changed since a number of the
 * registry's.
 */
#ifndef MANYTAILS_LAB_MAP_H
#define MANYTAILS_LAB_MAP_H

#include "lab/registry.h"

#define LAB_DOMAIN "lab.manytails.test" /* nodes are web.lab.manytails.test */
#define LAB_REGION 901
#define LAB_MAP_BYTES_MAX (16u << 20) /* of one message: the limit of the reference */

/* What is the same for all nodes. */
struct lab_network {
    struct ip_port relay; /* port 0: there is none */
    uint16_t stun_port;
    char pin[80];       /* of the relay's certificate */
    const char *filter; /* JSON array of rules; NULL: everybody may everything */
    uint64_t filter_at; /* the registry's number when it was changed last */
};

/* 0, -ENOBUFS, -ENOMEM. */
NODISCARD int lab_map_write_whole(struct buf *out, const struct registry *r, const struct lab_network *net,
                                  const struct registry_node *self, int64_t wall);
/* What is newer than `seen`. 1: nothing; 2: too much is, write it whole. */
#define LAB_MAP_NOTHING 1
#define LAB_MAP_TOO_OLD 2
NODISCARD int lab_map_write_delta(struct buf *out, const struct registry *r, const struct lab_network *net,
                                  const struct registry_node *self, uint64_t seen, int64_t wall);

/* The body of a map or register request, as far as the lab looks at it. */
struct lab_map_request {
    struct public_key key, disco;
    bool has_disco, stream, omit_peers, read_only, zstd, keep_alive;
    int64_t capability;
    int64_t home_region; /* 0: not said */
    struct ip_port endpoints[REGISTRY_ENDPOINTS_MAX];
    uint32_t endpoint_count;
    char *info; /* what peers may know of its Hostinfo; the caller's to free; NULL: none */
};
/* What peers may know out of a Hostinfo (JSON): a heap copy, NULL: none. */
char *lab_public_info(struct span hostinfo);
/* False: not such a request. */
bool lab_map_request_parse(struct span body, struct lab_map_request *out);
/* What is new in it goes to the node; peers are told of nothing else. */
void lab_map_request_apply(struct registry *r, struct registry_node *n, struct lab_map_request *q);

#endif
