/* What a node says to the lab's control server: parsed whole or refused, and what peers are told of it is
 * JSON. */
#include <stdlib.h>

#include "lab/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct lab_network net = { .stun_port = 1 };
    struct registration in = { .key = { { 1 } }, .machine = { { 2 } }, .auth_key = { NULL, 0 } };
    struct registration_result result;
    struct lab_map_request q;
    struct json *root = NULL;
    struct registry r;
    struct buf text;

    if (crypto_init() || !lab_map_request_parse(span_make(data, len), &q))
        return 0;
    must(q.endpoint_count <= REGISTRY_ENDPOINTS_MAX);
    registry_init(&r);
    registry_user_add(&r, "you", "You");
    in.auth_key = span_from_str(registry_key_add(&r, 1, "")->text);
    in.hostname = span_make(data, MIN(len, (size_t)80));
    must(registry_register(&r, &in, 0, &result) == 0);
    must(*result.node->name);
    lab_map_request_apply(&r, result.node, &q);
    buf_init(&text, LAB_MAP_BYTES_MAX);
    must(lab_map_write_whole(&text, &r, &net, result.node, 0) == 0);
    must(json_parse(buf_span(&text), text.len, &root) == 0);
    json_free(root);
    buf_deinit(&text);
    registry_deinit(&r);
    return 0;
}
