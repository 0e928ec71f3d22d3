/* tls/test_peer.h - for the tests of tls/: certificates made on the spot, and a TLS peer that is plain
 * OpenSSL with memory BIOs, so that our stream is not tested against itself */
#ifndef MANYTAILS_TLS_TEST_PEER_H
#define MANYTAILS_TLS_TEST_PEER_H

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "check.h"
#include "stream/stream.h"

struct test_cert {
    X509 *cert;
    EVP_PKEY *key;
    uint8_t sha256[32];
    char sha256_pin[80]; /* "sha256-raw:..." */
};

/* alt: "DNS:a.example,IP:127.0.0.1" or NULL; issuer NULL: signs itself; a CA if alt is NULL.
 * from, to: seconds from now. */
void test_cert_make(struct test_cert *out, const char *common_name, const char *alt,
                    const struct test_cert *issuer, long from, long to);
void test_cert_free(struct test_cert *c);
/* PEM of the certificates, and of c's key if with_key; into text. */
size_t test_cert_pem(const struct test_cert *c, const struct test_cert *issuer, bool with_key, char *text,
                     size_t size);

struct test_peer {
    SSL_CTX *ctx;
    SSL *ssl;
    BIO *in, *out; /* of ssl */
    struct stream *stream;
    struct buf unsent;   /* what the stream did not take */
    struct buf received; /* plaintext */
    bool echo;           /* send back what came, and the end */
    bool connected, ended, failed;
};

/* Plays the server (with cert and, if extra is not NULL, that one appended) or the client. */
void test_peer_server(struct test_peer *p, struct stream *s, const struct test_cert *cert,
                      const struct test_cert *extra);
void test_peer_client(struct test_peer *p, struct stream *s, const char *sni, const char *alpn);
void test_peer_write(struct test_peer *p, struct span bytes);
void test_peer_end(struct test_peer *p); /* close_notify and half-close */
void test_peer_close(struct test_peer *p);

#endif
