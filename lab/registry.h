/* lab/registry.h - who is in the lab's tailnet: users, auth keys, nodes, logins; and what changed since when
 *
 * No I/O: control.c asks and tells, map.c writes it down for a node. Every change gets a number; a map stream
 * remembers the number up to which it has told its node, and finds what is newer at the end of `changes`. So
 * a change costs each stream that change, whatever the size of the tailnet. Nothing outlives the process.
 */
#ifndef MANYTAILS_LAB_REGISTRY_H
#define MANYTAILS_LAB_REGISTRY_H

#include "base/base.h"
#include "crypto/crypto.h"

#define REGISTRY_NODES_MAX 4096
#define REGISTRY_USERS_MAX 64
#define REGISTRY_KEYS_MAX 256
#define REGISTRY_LOGINS_MAX 256   /* under way; the oldest is forgotten */
#define REGISTRY_REMOVED_MAX 4096 /* remembered; a stream that is further behind gets the whole map */
#define REGISTRY_NAME_BYTES 64
#define REGISTRY_TOKEN_BYTES 33 /* 32 hex digits */
#define REGISTRY_KEY_BYTES 80
#define REGISTRY_INFO_BYTES_MAX 4096 /* what peers are told of a node's Hostinfo */
#define REGISTRY_ENDPOINTS_MAX 32
#define REGISTRY_ADDRESSES_MAX 65000 /* given out one after the other, never again */
#define REGISTRY_USER_TAGGED 1000000 /* owns whatever joined with a tagged key */

struct registry_user {
    int64_t id;
    char login[64], display[64];
};

struct registry_key {
    char text[REGISTRY_KEY_BYTES];
    int64_t user;
    char tag[REGISTRY_NAME_BYTES]; /* "tag:svc" or "" */
    bool reusable, ephemeral, used, expired;
    bool preapproved; /* who joins with it needs nobody's approval */
};

struct registry_node {
    struct table_node by_key, by_machine;
    struct list link;     /* by id */
    struct list change;   /* by time of the last change */
    uint64_t changed_at;  /* number of its last change, and of the last ... */
    uint64_t full_at;     /* ... that has to be told whole */
    uint64_t patch_at;    /* ... that a patch can say */
    uint64_t approved_at; /* from then on it sees the others */

    int64_t id, user;
    struct public_key machine, key, disco;
    char name[REGISTRY_NAME_BYTES]; /* its label, unique */
    char tag[REGISTRY_NAME_BYTES];
    char approval[REGISTRY_TOKEN_BYTES]; /* who has this may approve it */
    uint32_t address;                    /* the number that both are made of */
    struct ip v4, v6;
    struct ip_port endpoints[REGISTRY_ENDPOINTS_MAX];
    uint32_t endpoint_count;
    int64_t home_region, capability;
    int64_t created, last_seen, key_expiry; /* wall clock; key_expiry 0: never */
    char *info;                             /* JSON object for peers; NULL: none */
    bool ephemeral, approved, online;
};

/* A browser has to open its URL. */
struct registry_login {
    struct list link;
    char token[REGISTRY_TOKEN_BYTES];
    struct public_key machine, key;
    int64_t user; /* 0: not yet */
};

struct registry {
    struct table by_key, by_machine;
    uint8_t hash_key[16];
    struct list nodes, changes, logins;
    size_t node_count, login_count;
    int64_t last_id;
    uint32_t last_address;
    uint64_t version; /* number of the last change */
    struct {
        int64_t id;
        uint64_t at;
    } removed[REGISTRY_REMOVED_MAX]; /* a ring */
    uint64_t removed_count;          /* ever */
    struct registry_user users[REGISTRY_USERS_MAX];
    struct registry_key keys[REGISTRY_KEYS_MAX];
    size_t user_count, key_count;
    bool needs_approval; /* of nodes that join from now on */
};

void registry_init(struct registry *r);
void registry_deinit(struct registry *r);

/* 0: no room. Texts are cut to what fits. */
int64_t registry_user_add(struct registry *r, const char *login, const char *display);
const struct registry_user *registry_user(const struct registry *r, int64_t id); /* NULL: unknown */
/* NULL: no room. `tag` may be "". The key's text is made here. */
struct registry_key *registry_key_add(struct registry *r, int64_t user, const char *tag);

/* ---- registering ----------------------------------------------------------------------------- */

struct registration { /* borrowed for the call */
    struct public_key machine, key, old_key;
    struct span auth_key; /* empty: none */
    struct span hostname;
    struct span followup; /* token of a login, empty: none */
    int64_t capability;
    bool ephemeral;
};

enum registration_outcome {
    REGISTRATION_LOGIN = 1, /* *token: a person has to log in */
    REGISTRATION_WAIT,      /* its login is still under way: *token */
    REGISTRATION_EXPIRED,   /* the node key has to be replaced */
    REGISTRATION_REFUSED,   /* *why */
};

struct registration_result {
    struct registry_node *node;
    const char *token, *why;
};

/* 0: result->node is a member. REGISTRATION_*; -ENOMEM. */
NODISCARD int registry_register(struct registry *r, const struct registration *in, int64_t wall,
                                struct registration_result *out);
/* The person has logged in as this user. False: no such login. */
bool registry_login_finish(struct registry *r, struct span token, int64_t user);

/* A node as it was kept, with what nobody else may have. NULL: somebody has it, or no room; what is not here
 * the caller fills in. */
struct registry_saved {
    int64_t id, address;
    struct public_key machine, key;
    char name[REGISTRY_NAME_BYTES];
};
struct registry_node *registry_restore(struct registry *r, const struct registry_saved *in);

/* ---- nodes ------------------------------------------------------------------------------------- */

struct registry_node *registry_by_key(const struct registry *r, const struct public_key *key);
struct registry_node *registry_by_machine(const struct registry *r, const struct public_key *machine);
struct registry_node *registry_by_name(const struct registry *r, const char *name);
struct registry_node *registry_by_approval(const struct registry *r, struct span token);
bool registry_expired(const struct registry_node *n, int64_t wall);

/* What a change concerns: anything, or only what a patch can say. */
enum registry_change { REGISTRY_FULL, REGISTRY_PATCH };
void registry_changed(struct registry *r, struct registry_node *n, enum registry_change what);
void registry_approve(struct registry *r, struct registry_node *n);
void registry_expire(struct registry *r, struct registry_node *n, int64_t at);
void registry_set_online(struct registry *r, struct registry_node *n, bool online, int64_t wall);
void registry_remove(struct registry *r, struct registry_node *n);
/* A label out of what was asked for: lower case, nobody else's. */
void registry_rename(struct registry *r, struct registry_node *n, struct span wanted);

#endif
