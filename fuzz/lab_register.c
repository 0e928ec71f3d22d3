/* What a node says to the lab when it registers: whatever it is, the registry stays within its limits and
 * finds each node by both keys, under a name that is a DNS label and nobody else's. */
#include <stdlib.h>

#include "lab/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_node(struct registry *r, struct registry_node *n)
{
    size_t length = strlen(n->name);

    must(length && length <= 63 && n->name[0] != '-' && n->name[length - 1] != '-');
    must(registry_by_key(r, &n->key) == n && registry_by_machine(r, &n->machine) == n);
    must(registry_by_name(r, n->name) == n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct json *root = NULL;
    struct registry r;

    if (crypto_init() || json_parse(span_make(data, len), LAB_REQUEST_BYTES_MAX, &root))
        return 0;
    registry_init(&r);
    registry_user_add(&r, "you", "You");
    strcpy(registry_key_add(&r, 1, "")->text, "once");
    strcpy(registry_key_add(&r, 1, "tag:svc")->text, "again");
    r.keys[1].reusable = true;
    for (uint8_t machine = 1; machine < 4; machine++) { /* the same words from three machines */
        struct public_key key = { { machine } };
        struct registration_result result;
        struct asked asked;

        if (!lab_registration_parse(root, &key, &asked))
            break;
        if (registry_register(&r, &asked.in, machine, &result) == 0)
            check_node(&r, result.node);
        must(r.node_count <= 1 && r.login_count <= 3); /* one key has one owner */
    }
    registry_deinit(&r);
    json_free(root);
    return 0;
}
