/* lab/page.h - a tiny web server for the demo: one page that says which service it is and who is asking
 *
 * It stands for the user's own program behind a service. Thread: the loop's.
 */
#ifndef MANYTAILS_LAB_PAGE_H
#define MANYTAILS_LAB_PAGE_H

#include "ev/ev.h"

#define LAB_PAGE_NAME_BYTES 64

struct lab_page;

/* `name` is copied; port 0: the kernel chooses. -EINVAL: a name that is no DNS label. */
NODISCARD int lab_page_new(struct lab_page **out, struct ev_loop *loop, const char *name,
                           const struct ip_port *at);
void lab_page_free(struct lab_page *p); /* NULL is fine */
uint16_t lab_page_port(const struct lab_page *p);

#endif
