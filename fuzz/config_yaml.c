/* Any bytes as a configuration file: read or refused, never more problems than the limit. */
#include "config/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct config c = { 0 };

    buf_init(&c.problems, 1 << 18);
    buf_init(&c.notices, 1 << 18);
    c.mode = CONFIG_STRICT;
    must(process_init(&c) == 0);
    if (yaml_load_text(&c, "fuzz.yaml", span_make(data, len)) == 0 && meaning_apply(&c, true) == 0 &&
        environment_apply(&c, "fuzz", NULL) == 0)
        config_check(&c, true);
    faults_tell(&c);
    must(c.service_count <= CONFIG_SERVICES_MAX && !c.faults);
    must(!c.problem_count == !c.problems.len);
    config_free(&c);
    return 0;
}
