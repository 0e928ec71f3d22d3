#include "daemon/internal.h"

#include <qrencode.h>
#include <stdio.h>
#include <unistd.h>

#define QUIET_ZONE 2

static bool dark(const QRcode *qr, int x, int y)
{
    return x >= 0 && y >= 0 && x < qr->width && y < qr->width && (qr->data[y * qr->width + x] & 1);
}

/* Two rows of modules per line of text: upper and lower half blocks, light on dark. */
static void print_code(const QRcode *qr)
{
    static const char *const blocks[] = { "\xe2\x96\x88", "\xe2\x96\x80", "\xe2\x96\x84", " " };

    for (int y = -QUIET_ZONE; y < qr->width + QUIET_ZONE; y += 2) {
        for (int x = -QUIET_ZONE; x < qr->width + QUIET_ZONE; x++)
            fputs(blocks[(dark(qr, x, y) ? 2 : 0) + (dark(qr, x, y + 1) ? 1 : 0)], stderr);
        fputc('\n', stderr);
    }
}

void login_show(const char *service, const char *url)
{
    QRcode *qr;

    log_warn(service, "to log in, open this page: %s", url);
    if (!isatty(STDERR_FILENO))
        return;
    qr = QRcode_encodeString(url, 0, QR_ECLEVEL_L, QR_MODE_8, 1);
    if (!qr)
        return;
    log_set_footer(NULL); /* the caller has it drawn again */
    print_code(qr);
    QRcode_free(qr);
}
