#include "lab/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define LABEL_BYTES_MAX 63
#define SUFFIX_BYTES_MAX 6 /* "-" and a number that makes a label unique */

void registry_init(struct registry *r)
{
    *r = (struct registry) { 0 };
    table_init(&r->by_key);
    table_init(&r->by_machine);
    list_init(&r->nodes);
    list_init(&r->changes);
    list_init(&r->logins);
    random_bytes(r->hash_key, sizeof(r->hash_key));
}

static void node_free(struct registry *r, struct registry_node *n)
{
    table_remove(&r->by_key, &n->by_key);
    table_remove(&r->by_machine, &n->by_machine);
    list_remove(&n->link);
    list_remove(&n->change);
    r->node_count--;
    free(n->info);
    free(n);
}

static void login_free(struct registry *r, struct registry_login *l)
{
    list_remove(&l->link);
    r->login_count--;
    free(l);
}

void registry_deinit(struct registry *r)
{
    while (!list_empty(&r->nodes))
        node_free(r, LIST_FIRST(&r->nodes, struct registry_node, link));
    while (!list_empty(&r->logins))
        login_free(r, LIST_FIRST(&r->logins, struct registry_login, link));
    table_deinit(&r->by_key);
    table_deinit(&r->by_machine);
    wipe(r->keys, sizeof(r->keys));
}

static void make_token(char out[REGISTRY_TOKEN_BYTES])
{
    uint8_t bytes[(REGISTRY_TOKEN_BYTES - 1) / 2];

    random_bytes(bytes, sizeof(bytes));
    hex_encode(out, SPAN_OF(bytes));
}

/* ---- users and keys ------------------------------------------------------------------------------ */

int64_t registry_user_add(struct registry *r, const char *login, const char *display)
{
    struct registry_user *u;

    if (r->user_count == REGISTRY_USERS_MAX)
        return 0;
    u = &r->users[r->user_count++];
    u->id = (int64_t)r->user_count;
    snprintf(u->login, sizeof(u->login), "%s", login);
    snprintf(u->display, sizeof(u->display), "%s", display);
    return u->id;
}

const struct registry_user *registry_user(const struct registry *r, int64_t id)
{
    return id > 0 && (size_t)id <= r->user_count ? &r->users[id - 1] : NULL;
}

struct registry_key *registry_key_add(struct registry *r, int64_t user, const char *tag)
{
    char token[REGISTRY_TOKEN_BYTES];
    struct registry_key *k;

    if (r->key_count == REGISTRY_KEYS_MAX)
        return NULL;
    k = &r->keys[r->key_count++];
    make_token(token);
    *k = (struct registry_key) { .user = user };
    snprintf(k->text, sizeof(k->text), "tskey-auth-lab%zu-%s", r->key_count, token);
    snprintf(k->tag, sizeof(k->tag), "%s", tag);
    return k;
}

/* Compared in constant time, all of them: an auth key is a secret. */
static struct registry_key *find_auth_key(struct registry *r, struct span text)
{
    struct registry_key *found = NULL;

    for (size_t i = 0; i < r->key_count; i++) {
        struct span key = span_from_str(r->keys[i].text);

        if (key.len == text.len && crypto_equal(key.data, text.data, key.len))
            found = &r->keys[i];
    }
    return found;
}

/* ---- nodes ----------------------------------------------------------------------------------------- */

static uint64_t hash_of(const struct registry *r, const struct public_key *key)
{
    return siphash(r->hash_key, key->bytes, KEY_BYTES);
}

struct registry_node *registry_by_key(const struct registry *r, const struct public_key *key)
{
    for (struct table_node *t = table_first(&r->by_key, hash_of(r, key)); t; t = table_next_same(t)) {
        struct registry_node *n = TABLE_ENTRY(t, struct registry_node, by_key);

        if (public_key_equal(&n->key, key))
            return n;
    }
    return NULL;
}

struct registry_node *registry_by_machine(const struct registry *r, const struct public_key *machine)
{
    for (struct table_node *t = table_first(&r->by_machine, hash_of(r, machine)); t; t = table_next_same(t)) {
        struct registry_node *n = TABLE_ENTRY(t, struct registry_node, by_machine);

        if (public_key_equal(&n->machine, machine))
            return n;
    }
    return NULL;
}

struct registry_node *registry_by_name(const struct registry *r, const char *name)
{
    LIST_EACH (n, &r->nodes, struct registry_node, link)
        if (strcmp(n->name, name) == 0)
            return n;
    return NULL;
}

struct registry_node *registry_by_approval(const struct registry *r, struct span token)
{
    LIST_EACH (n, &r->nodes, struct registry_node, link)
        if (token.len == REGISTRY_TOKEN_BYTES - 1 && crypto_equal(n->approval, token.data, token.len))
            return n;
    return NULL;
}

bool registry_expired(const struct registry_node *n, int64_t wall)
{
    return n->key_expiry && n->key_expiry <= wall;
}

void registry_changed(struct registry *r, struct registry_node *n, enum registry_change what)
{
    n->changed_at = ++r->version;
    if (what == REGISTRY_FULL)
        n->full_at = n->changed_at;
    else
        n->patch_at = n->changed_at;
    list_remove(&n->change);
    list_push_back(&r->changes, &n->change);
}

void registry_approve(struct registry *r, struct registry_node *n)
{
    if (n->approved)
        return;
    n->approved = true;
    registry_changed(r, n, REGISTRY_FULL);
    n->approved_at = n->changed_at;
}

void registry_expire(struct registry *r, struct registry_node *n, int64_t at)
{
    n->key_expiry = at;
    registry_changed(r, n, REGISTRY_FULL);
}

void registry_set_online(struct registry *r, struct registry_node *n, bool online, int64_t wall)
{
    if (n->online == online)
        return;
    n->online = online;
    n->last_seen = wall;
    registry_changed(r, n, REGISTRY_PATCH);
}

void registry_remove(struct registry *r, struct registry_node *n)
{
    size_t at = r->removed_count++ % REGISTRY_REMOVED_MAX;

    r->removed[at].id = n->id;
    r->removed[at].at = ++r->version;
    node_free(r, n);
}

/* Letters, digits and dashes of what was asked for, as a DNS label. */
static size_t clean_label(char out[LABEL_BYTES_MAX + 1], struct span wanted)
{
    size_t len = 0;

    for (size_t i = 0; i < wanted.len && len < LABEL_BYTES_MAX - SUFFIX_BYTES_MAX; i++) {
        uint8_t c = wanted.data[i];

        if (c == '.')
            break;
        if (c >= 'A' && c <= 'Z')
            c += 'a' - 'A';
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            out[len++] = (char)c;
        else if (len && out[len - 1] != '-')
            out[len++] = '-';
    }
    while (len && out[len - 1] == '-')
        len--;
    out[len] = '\0';
    return len;
}

void registry_rename(struct registry *r, struct registry_node *n, struct span wanted)
{
    char label[LABEL_BYTES_MAX + 1], name[REGISTRY_NAME_BYTES];
    const struct registry_node *other;

    if (!clean_label(label, wanted))
        snprintf(label, sizeof(label), "node");
    snprintf(name, sizeof(name), "%s", label);
    for (unsigned i = 1; (other = registry_by_name(r, name)) && other != n; i++)
        snprintf(name, sizeof(name), "%.*s-%u", LABEL_BYTES_MAX - SUFFIX_BYTES_MAX, label, i);
    memcpy(n->name, name, sizeof(n->name));
}

/* 100.64.0.1, 100.64.0.2, ... and the same count in the ULA prefix that this network uses. */
static void give_addresses(struct registry_node *n, uint32_t number)
{
    uint8_t v6[16] = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0 };
    uint8_t v4[4] = { 100, 64 };

    n->address = number;
    store_be16(v4 + 2, (uint16_t)number);
    store_be32(v6 + 12, number);
    n->v4 = ip_from_v4(v4);
    n->v6 = ip_from_v6(v6);
}

/* In the tables and lists, by both keys; NULL: no room. */
static struct registry_node *insert_node(struct registry *r, const struct public_key *machine,
                                         const struct public_key *key)
{
    struct registry_node *n = r->node_count < REGISTRY_NODES_MAX ? calloc(1, sizeof(*n)) : NULL;

    if (!n)
        return NULL;
    n->machine = *machine;
    n->key = *key;
    if (table_insert(&r->by_machine, &n->by_machine, hash_of(r, machine))) {
        free(n);
        return NULL;
    }
    if (table_insert(&r->by_key, &n->by_key, hash_of(r, key))) {
        table_remove(&r->by_machine, &n->by_machine);
        free(n);
        return NULL;
    }
    make_token(n->approval);
    list_push_back(&r->nodes, &n->link);
    list_push_back(&r->changes, &n->change);
    r->node_count++;
    return n;
}

struct registry_node *registry_restore(struct registry *r, const struct registry_saved *in)
{
    const struct registry_node *last =
        list_empty(&r->nodes) ? NULL : LIST_ENTRY(r->nodes.prev, struct registry_node, link);
    struct registry_node *n;

    if (registry_by_machine(r, &in->machine) || registry_by_key(r, &in->key) ||
        registry_by_name(r, in->name) || in->id > r->last_id || (last && in->id <= last->id) ||
        !in->address || in->address > r->last_address)
        return NULL;
    n = insert_node(r, &in->machine, &in->key);
    if (!n)
        return NULL;
    n->id = in->id;
    give_addresses(n, (uint32_t)in->address);
    registry_rename(r, n, span_from_str(in->name));
    return n;
}

/* ---- registering ------------------------------------------------------------------------------------ */

static struct registry_login *find_login(const struct registry *r, struct span token)
{
    LIST_EACH (l, &r->logins, struct registry_login, link)
        if (token.len == REGISTRY_TOKEN_BYTES - 1 && crypto_equal(l->token, token.data, token.len))
            return l;
    return NULL;
}

bool registry_login_finish(struct registry *r, struct span token, int64_t user)
{
    struct registry_login *l = find_login(r, token);

    if (!l)
        return false;
    l->user = user;
    return true;
}

static struct registry_login *begin_login(struct registry *r, const struct registration *in)
{
    struct registry_login *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    if (r->login_count >= REGISTRY_LOGINS_MAX)
        login_free(r, LIST_FIRST(&r->logins, struct registry_login, link));
    make_token(l->token);
    l->machine = in->machine;
    l->key = in->key;
    list_push_back(&r->logins, &l->link);
    r->login_count++;
    return l;
}

static int add_node(struct registry *r, const struct registration *in, int64_t wall,
                    struct registry_node **out)
{
    struct registry_node *n =
        r->last_address < REGISTRY_ADDRESSES_MAX ? insert_node(r, &in->machine, &in->key) : NULL;

    if (!n)
        return -ENOMEM;
    n->id = ++r->last_id;
    n->created = wall;
    n->approved = !r->needs_approval;
    give_addresses(n, ++r->last_address);
    registry_rename(r, n, in->hostname);
    *out = n;
    return 0;
}

/* The machine is known: it may have a new node key. */
static int rekey(struct registry *r, struct registry_node *n, const struct registration *in)
{
    if (public_key_equal(&n->key, &in->key))
        return 0;
    table_remove(&r->by_key, &n->by_key);
    n->key = in->key;
    return table_insert(&r->by_key, &n->by_key, hash_of(r, &n->key));
}

/* Somebody vouches for it: an auth key, or a person who logged in. */
static int admit(struct registry *r, const struct registration *in, int64_t user, const char *tag,
                 bool ephemeral, int64_t wall, struct registry_node **out)
{
    struct registry_node *n = registry_by_machine(r, &in->machine);
    int error = n ? rekey(r, n, in) : add_node(r, in, wall, &n);

    if (error)
        return error;
    n->user = *tag ? REGISTRY_USER_TAGGED : user;
    snprintf(n->tag, sizeof(n->tag), "%s", tag);
    n->ephemeral = ephemeral || in->ephemeral;
    n->capability = in->capability;
    n->key_expiry = 0;
    registry_changed(r, n, REGISTRY_FULL);
    *out = n;
    return 0;
}

static int by_auth_key(struct registry *r, const struct registration *in, int64_t wall,
                       struct registration_result *out)
{
    struct registry_key *k = find_auth_key(r, in->auth_key);
    int error;

    out->why = !k                        ? "invalid pre auth key"
               : k->expired              ? "authkey expired"
               : k->used && !k->reusable ? "authkey already used"
                                         : NULL;
    if (out->why)
        return REGISTRATION_REFUSED;
    error = admit(r, in, k->user, k->tag, k->ephemeral, wall, &out->node);
    if (!error && k->preapproved)
        out->node->approved = true;
    k->used |= error == 0;
    return error;
}

static int by_login(struct registry *r, const struct registration *in, int64_t wall,
                    struct registration_result *out)
{
    struct registry_login *l = in->followup.len ? find_login(r, in->followup) : NULL;

    if (l && (!public_key_equal(&l->machine, &in->machine) || !public_key_equal(&l->key, &in->key)))
        l = NULL; /* somebody else's */
    if (l && l->user) {
        int error = admit(r, in, l->user, "", false, wall, &out->node);

        if (!error)
            login_free(r, l);
        return error;
    }
    if (l) {
        out->token = l->token;
        return REGISTRATION_WAIT;
    }
    l = begin_login(r, in);
    if (!l)
        return -ENOMEM;
    out->token = l->token;
    return REGISTRATION_LOGIN;
}

int registry_register(struct registry *r, const struct registration *in, int64_t wall,
                      struct registration_result *out)
{
    struct registry_node *n = registry_by_machine(r, &in->machine);
    const struct registry_node *owner = registry_by_key(r, &in->key);

    *out = (struct registration_result) { .node = n };
    if (owner && owner != n) {
        out->why = "node key is in use by another machine";
        return REGISTRATION_REFUSED;
    }
    if (n && owner == n && !registry_expired(n, wall)) {
        n->capability = in->capability;
        return 0; /* it started anew */
    }
    if (n && owner == n)
        return REGISTRATION_EXPIRED;
    return in->auth_key.len ? by_auth_key(r, in, wall, out) : by_login(r, in, wall, out);
}
