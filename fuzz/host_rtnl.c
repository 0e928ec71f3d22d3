/* rtnetlink messages: whatever stands in them, the table keeps its order and its limits, and the view its
 * rules. */
#include <stdlib.h>

#include "host/interfaces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct interfaces t;
    struct interface_route route;
    struct host_view view;
    uint8_t *aligned = malloc(size ? size : 1); /* as the reader's buffer is */

    if (!aligned)
        return 0;
    if (size)
        memcpy(aligned, data, size);
    interfaces_init(&t);
    rtnl_apply(&t, span_make(aligned, size));
    rtnl_apply_route(span_make(aligned, size), &route);
    for (size_t i = 1; i < t.count; i++)
        must(t.list[i - 1].index < t.list[i].index);
    must(t.count <= HOST_INTERFACES_MAX && t.address_count <= HOST_ADDRESSES_MAX);
    interfaces_view(&t, &view);
    must(view.count <= HOST_USABLE_MAX);
    for (uint32_t i = 1; i < view.count; i++)
        must(memcmp(&view.addresses[i - 1], &view.addresses[i], sizeof(struct ip)) < 0);
    interfaces_deinit(&t);
    free(aligned);
    return 0;
}
