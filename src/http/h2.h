/* http/h2.h - what both roles of HTTP/2 share (part of http.h) */
#ifndef MANYTAILS_HTTP_H2_H
#define MANYTAILS_HTTP_H2_H

#include "base/base.h"

struct h2_header {
    struct span name; /* lower case */
    struct span value;
};

/* Room in which frames are put together: used only inside calls, so all machines of a thread share one. */
#define H2_SCRATCH_BYTES (17u << 10)

/* RFC 9113 7: the codes that are of use to the owner of a machine. */
enum h2_code {
    H2_CODE_NO_ERROR = 0,
    H2_CODE_PROTOCOL_ERROR = 1,
    H2_CODE_INTERNAL_ERROR = 2,
    H2_CODE_REFUSED_STREAM = 7,
    H2_CODE_CANCEL = 8,
    H2_CODE_CONNECT_ERROR = 10,
    H2_CODE_ENHANCE_YOUR_CALM = 11,
    H2_CODE_HTTP_1_1_REQUIRED = 13,
};

/* Text of any HTTP/2 error code, for logs. Static storage. */
const char *h2_code_text(uint32_t code);

#endif
