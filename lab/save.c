#include "lab/save.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- out ------------------------------------------------------------------------------------------- */

static void put_key(struct json_writer *w, const char *name, const char *prefix, const uint8_t key[KEY_BYTES])
{
    char text[KEY_TEXT_BYTES];

    json_put_str(w, name, key_text(text, prefix, key));
    wipe(text, sizeof(text));
}

static void put_auth_key(struct json_writer *w, const struct registry_key *k)
{
    json_object_begin(w, NULL);
    json_put_str(w, "text", k->text);
    json_put_i64(w, "user", k->user);
    json_put_str(w, "tag", k->tag);
    json_put_bool(w, "reusable", k->reusable);
    json_put_bool(w, "ephemeral", k->ephemeral);
    json_put_bool(w, "used", k->used);
    json_object_end(w);
}

static void put_node(struct json_writer *w, const struct registry_node *n)
{
    json_object_begin(w, NULL);
    json_put_i64(w, "id", n->id);
    json_put_i64(w, "user", n->user);
    put_key(w, "machine", "mkey:", n->machine.bytes);
    put_key(w, "key", "nodekey:", n->key.bytes);
    put_key(w, "disco", "discokey:", n->disco.bytes);
    json_put_str(w, "name", n->name);
    json_put_str(w, "tag", n->tag);
    json_put_i64(w, "address", n->address);
    json_put_i64(w, "home", n->home_region);
    json_put_i64(w, "capability", n->capability);
    json_put_i64(w, "created", n->created);
    json_put_i64(w, "keyExpiry", n->key_expiry);
    json_put_bool(w, "ephemeral", n->ephemeral);
    json_put_bool(w, "approved", n->approved);
    json_put_raw(w, "info", span_from_str(n->info ? n->info : "null"));
    json_object_end(w);
}

int lab_save_write(struct buf *out, const struct registry *r, const struct secret_key *key)
{
    struct json_writer w = json_writer_of(out);

    json_object_begin(&w, NULL);
    put_key(&w, "key", "privkey:", key->bytes);
    json_array_begin(&w, "authKeys");
    for (size_t i = 0; i < r->key_count; i++)
        put_auth_key(&w, &r->keys[i]);
    json_array_end(&w);
    json_array_begin(&w, "nodes");
    LIST_EACH (n, &r->nodes, struct registry_node, link)
        put_node(&w, n);
    json_array_end(&w);
    json_put_i64(&w, "lastId", r->last_id);
    json_put_i64(&w, "lastAddress", r->last_address);
    json_object_end(&w);
    return json_writer_done(&w);
}

/* ---- in -------------------------------------------------------------------------------------------- */

static bool get_key(const struct json *v, const char *name, const char *prefix, uint8_t out[KEY_BYTES])
{
    struct span text;

    return json_get_string(v, name, &text) == JSON_GOT && key_parse(text, prefix, out);
}

static bool get_text(const struct json *v, const char *name, char *out, size_t size)
{
    struct span text;

    return json_get_string(v, name, &text) == JSON_GOT && text_copy(out, size, text);
}

static bool get_number(const struct json *v, const char *name, int64_t max, int64_t *out)
{
    return json_get_int(v, name, 0, max, out) == JSON_GOT;
}

static bool read_auth_key(const struct json *v, struct registry *r)
{
    struct registry_key k = { 0 };

    if (r->key_count == REGISTRY_KEYS_MAX || !get_text(v, "text", k.text, sizeof(k.text)) || !*k.text ||
        !get_text(v, "tag", k.tag, sizeof(k.tag)) || !get_number(v, "user", REGISTRY_USERS_MAX, &k.user))
        return false;
    json_get_bool(v, "reusable", &k.reusable);
    json_get_bool(v, "ephemeral", &k.ephemeral);
    json_get_bool(v, "used", &k.used);
    r->keys[r->key_count++] = k;
    return true;
}

static bool read_node(const struct json *v, struct span text, struct registry *r)
{
    struct registry_saved in = { 0 };
    struct registry_node *n;
    struct span info = json_text_member(text, "info");

    if (!get_key(v, "machine", "mkey:", in.machine.bytes) || !get_key(v, "key", "nodekey:", in.key.bytes) ||
        !get_number(v, "id", INT64_MAX, &in.id) ||
        !get_number(v, "address", REGISTRY_ADDRESSES_MAX, &in.address) ||
        !get_text(v, "name", in.name, sizeof(in.name)))
        return false;
    n = registry_restore(r, &in);
    if (!n)
        return false;
    json_get_bool(v, "ephemeral", &n->ephemeral);
    json_get_bool(v, "approved", &n->approved);
    if (json_text_kind(info) == JSON_KIND_OBJECT && info.len <= REGISTRY_INFO_BYTES_MAX)
        n->info = text_dup(info);
    return get_key(v, "disco", "discokey:", n->disco.bytes) && get_text(v, "tag", n->tag, sizeof(n->tag)) &&
           get_number(v, "user", REGISTRY_USER_TAGGED, &n->user) &&
           get_number(v, "home", INT32_MAX, &n->home_region) &&
           get_number(v, "capability", INT32_MAX, &n->capability) &&
           get_number(v, "created", INT64_MAX, &n->created) &&
           get_number(v, "keyExpiry", INT64_MAX, &n->key_expiry);
}

static bool read_nodes(const struct json *list, struct span text, struct registry *r)
{
    struct json_cursor c = json_cursor_of(text);
    struct span one;

    for (size_t i = 0; i < json_array_count(list); i++)
        if (!json_cursor_next(&c, NULL, &one) || !read_node(json_array_at(list, i), one, r))
            return false;
    return true;
}

bool lab_save_read(struct span text, struct registry *r, struct secret_key *key)
{
    OWNED(json_freep) struct json *root = NULL;
    const struct json *keys = NULL, *nodes = NULL;
    int64_t last_address = 0;

    if (json_parse(text, LAB_SAVE_BYTES_MAX, &root) || !get_key(root, "key", "privkey:", key->bytes) ||
        json_get_array(root, "authKeys", &keys) != JSON_GOT ||
        json_get_array(root, "nodes", &nodes) != JSON_GOT ||
        !get_number(root, "lastId", INT64_MAX - REGISTRY_NODES_MAX, &r->last_id) ||
        !get_number(root, "lastAddress", REGISTRY_ADDRESSES_MAX, &last_address))
        return false;
    r->last_address = (uint32_t)last_address;
    for (size_t i = 0; i < json_array_count(keys); i++)
        if (!read_auth_key(json_array_at(keys, i), r))
            return false;
    return read_nodes(nodes, json_text_member(text, "nodes"), r);
}
