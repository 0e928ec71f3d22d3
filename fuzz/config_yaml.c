/* Any bytes as a configuration file: read or refused, never more problems than the limit. */
#include "config/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct config c = { 0 };

    buf_init(&c.problems, 1 << 18);
    buf_init(&c.notices, 1 << 18);
    if (yaml_load_text(&c, "fuzz.yaml", span_make(data, len)) == 0)
        config_check(&c, true);
    must(c.service_count <= CONFIG_SERVICES_MAX);
    config_free(&c);
    return 0;
}
