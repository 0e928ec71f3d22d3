/* tls/records.h - the record layer of TLS 1.3, for connections whose handshake OpenSSL has made
 *
 * Why: an OpenSSL connection at rest costs 15 KB, this costs 400 bytes, and a host has two connections for
 * each of its nodes. Only what comes after a handshake is here: records, close and alert, key updates;
 * tickets are skipped. No I/O. RFC 8446 sections 4.6, 5, 6.1, 7.2 and 7.3.
 *
 * Thread: the stream's; a thread that used it calls tls_thread_end (3 KB of cipher contexts).
 */
#ifndef MANYTAILS_TLS_RECORDS_H
#define MANYTAILS_TLS_RECORDS_H

#include "base/base.h"

#define RECORD_HEADER_BYTES 5
#define RECORD_PLAIN_BYTES_MAX 16384
#define RECORD_OVERHEAD_BYTES (RECORD_HEADER_BYTES + 1 + 16)                  /* header, inner type, tag */
#define RECORD_BYTES_MAX (RECORD_HEADER_BYTES + RECORD_PLAIN_BYTES_MAX + 256) /* as received */
#define RECORD_SECRET_BYTES_MAX 48

enum record_type {
    RECORD_ALERT = 21,
    RECORD_HANDSHAKE = 22,
    RECORD_DATA = 23,
};

enum record_outcome {
    RECORD_E_MORE = 1, /* not whole yet */
    RECORD_E_BAD,      /* no record, too long, or not by who it should be: the connection is over */
    RECORD_E_END,      /* close_notify */
    RECORD_E_ALERT,    /* the other side reports a failure */
};

struct record_direction {
    uint8_t secret[RECORD_SECRET_BYTES_MAX];
    uint8_t key[32], iv[12];
    uint64_t sequence;
};

struct records {
    struct record_direction in, out;
    uint32_t skip;    /* rest of a handshake message that we ignore */
    uint8_t suite;    /* index into the table of records.c */
    uint8_t alert;    /* of RECORD_E_ALERT */
    bool update_owed; /* the other side wants our keys renewed before the next record */
};

/* suite: as in the handshake (0x1301...). The sequences are the numbers of the next records. False: a suite
 * that we do not have. */
bool records_init(struct records *r, uint16_t suite, const uint8_t *in_secret, const uint8_t *out_secret,
                  uint64_t in_sequence, uint64_t out_sequence);
void records_wipe(struct records *r);
size_t records_secret_bytes(uint16_t suite); /* 0: not ours */

/* Length of the record at the front of bytes, header included. 0, RECORD_E_MORE, RECORD_E_BAD. */
int records_measure(struct span bytes, size_t *len);
/* Opens one whole record into out (len - 5 - 16 bytes of room; may be where its body is). 0: *plain bytes of
 * *type. */
int records_open(struct records *r, struct span record, uint8_t *out, uint8_t *type, size_t *plain);
/* What is no data: 0, RECORD_E_BAD, RECORD_E_END, RECORD_E_ALERT. */
int records_control(struct records *r, uint8_t type, struct span content);

/* Seals up to RECORD_PLAIN_BYTES_MAX; returns plain.len + RECORD_OVERHEAD_BYTES. plain may lie at out + 5. */
size_t records_seal(struct records *r, enum record_type type, struct span plain, uint8_t *out);
/* True before a record if a key update has to go first: this is it (RECORD_OVERHEAD_BYTES + 5 bytes of room).
 */
bool records_update_due(const struct records *r);
size_t records_update(struct records *r, uint8_t *out);

void tls_records_thread_end(void);

#endif
