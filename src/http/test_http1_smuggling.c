/* Shapes that two readers could take for two different messages. Each is refused, or comes out with one
 * meaning. Numbers are sections of RFC 9112 unless another RFC is named. */
#include <assert.h>
#include <stdlib.h>

#include "test_http1.h"

#define H "Host: a\r\n"
#define POST "POST / HTTP/1.1\r\n" H

struct shape {
    const char *section, *why, *in, *want;
};

#define GET_A "<GET / 1.1 none keep [Host: a]>."

static const struct shape request_shapes[] = {
    /* ---- lines */
    { "2.2", "bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", "!LINE" },
    { "2.2", "bare LF after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", "!LINE" },
    { "2.2", "bare LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", "!LINE" },
    { "2.2", "bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "!LINE" },
    { "2.2", "bare CR that ends a field", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "!LINE" },
    { "2.2", "CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "!LINE" },
    { "2.2", "CR CR LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", "!LINE" },
    { "2.2", "bare CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", "!LINE" },
    { "2.2", "blank lines in front are skipped", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", GET_A },
    { "2.2", "too many blank lines", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "!START" },
    { "2.2", "blank in front of the request line", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", "!START" },
    { "2.2", "blank in front of the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "!FOLD" },
    { "5.2", "folded value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", "!FOLD" },
    { "5.2", "folded with HTAB", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n", "!FOLD" },
    { "5.2", "folded Transfer-Encoding", POST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "!FOLD" },
    { "5.2", "line of blanks only", "GET / HTTP/1.1\r\nHost: a\r\n \r\nX: y\r\n\r\n", "!FOLD" },
    { "9110 5.5", "vertical tab in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\vb\r\n\r\n", "!LINE" },
    { "9110 5.5", "DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7f\r\n\r\n", "!LINE" },
    { "9110 5.5", "ESC in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[2J\r\n\r\n", "!LINE" },

    /* ---- request line */
    { "3", "HTTP/0.9", "GET /\r\n\r\n", "!START" },
    { "3", "two blanks", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "!START" },
    { "3", "two blanks before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "!START" },
    { "3", "HTAB between the parts", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", "!START" },
    { "3", "blank in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "!START" },
    { "3", "blank after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "!START" },
    { "3.1", "method that is no token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", "!START" },
    { "3.1", "endless method", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\nHost: a\r\n\r\n", "!START" },
    { "3.1", "unknown method passes", "FROB / HTTP/1.1\r\nHost: a\r\n\r\n",
      "<FROB / 1.1 none keep [Host: a]>." },
    { "3.1", "method in small letters is another one", "get / HTTP/1.1\r\nHost: a\r\n\r\n",
      "<get / 1.1 none keep [Host: a]>." },
    { "3.2", "target without slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", "!TARGET" },
    { "3.2", "fragment in the target", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "!TARGET" },
    { "3.2.2", "absolute form beats Host", "GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
      "<GET /x?y 1.1 none keep [Host: b:81]>." },
    { "3.2.2", "absolute form without path", "GET http://b HTTP/1.1\r\nHost: a\r\n\r\n",
      "<GET / 1.1 none keep [Host: b]>." },
    { "3.2.2", "absolute form with query only", "GET HTTPS://b?q HTTP/1.1\r\nHost: a\r\n\r\n",
      "<GET /?q 1.1 none keep [Host: b]>." },
    { "3.2.2", "absolute form with user name", "GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", "!TARGET" },
    { "3.2.2", "absolute form without host", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", "!TARGET" },
    { "3.2.2", "absolute form, HTTP/1.0 without Host", "GET http://b/ HTTP/1.0\r\n\r\n",
      "<GET / 1.0 none [Host: b]>." },
    { "3.2.2", "another scheme", "GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "!TARGET" },
    { "3.2.3", "CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "!CONNECT" },
    { "3.2.4", "* is for OPTIONS", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "!TARGET" },
    { "3.2.4", "OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "<OPTIONS * 1.1 none keep [Host: a]>." },
    { "3.2.4", "OPTIONS of a whole server", "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n",
      "<OPTIONS * 1.1 none keep [Host: b]>." },
    { "2.3", "HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "!VERSION" },
    { "2.3", "HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "!VERSION" },
    { "2.3", "HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", "!START" },
    { "2.3", "small letters", "GET / http/1.1\r\nHost: a\r\n\r\n", "!START" },
    { "2.3", "HTTP/01.1", "GET / HTTP/01.1\r\nHost: a\r\n\r\n", "!START" },
    { "2.2", "TLS on a plain port", "\x16\x03\x01\x02", "!LINE" },

    /* ---- Host */
    { "3.2", "no Host", "GET / HTTP/1.1\r\n\r\n", "!HOST" },
    { "3.2", "two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "!HOST" },
    { "3.2", "two Hosts, other case", "GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", "!HOST" },
    { "3.2", "two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "!HOST" },
    { "3.2", "list of hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "!HOST" },
    { "3.2", "Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "!HOST" },
    { "3.2", "Host with a user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "!HOST" },
    { "3.2", "Host with a wrong port", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "!HOST" },
    { "3.2", "Host of an open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "!HOST" },
    { "3.2", "IPv6 Host", "GET / HTTP/1.1\r\nHost: [fd7a::1]:80\r\n\r\n",
      "<GET / 1.1 none keep [Host: [fd7a::1]:80]>." },
    { "3.2", "empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "<GET / 1.1 none keep [Host: ]>." },

    /* ---- names */
    { "5.1", "blank before the colon", POST "Content-Length : 5\r\n\r\nhello", "!FIELD" },
    { "5.1", "HTAB before the colon", POST "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", "!FIELD" },
    { "5.1", "no colon", "GET / HTTP/1.1\r\nHost: a\r\nfoo\r\n\r\n", "!FIELD" },
    { "5.1", "empty name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", "!FIELD" },
    { "5.1", "name that is no token", "GET / HTTP/1.1\r\nHost: a\r\nX[0]: x\r\n\r\n", "!FIELD" },
    { "5.1", "quoted name", "GET / HTTP/1.1\r\nHost: a\r\n\"X\": x\r\n\r\n", "!FIELD" },
    { "5.1", "name beyond ASCII", "GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xa4: x\r\n\r\n", "!FIELD" },
    { "5.1", "blanks around a value are not part of it", "GET / HTTP/1.1\r\nHost:\t a \t\r\nX:y z\r\n\r\n",
      "<GET / 1.1 none keep [Host: a] [X: y z]>." },

    /* ---- Content-Length */
    { "6.3", "two equal lengths", POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "!LENGTH" },
    { "6.3", "two lengths", POST "Content-Length: 5\r\ncontent-length: 6\r\n\r\nhello", "!LENGTH" },
    { "6.3", "list of equal lengths", POST "Content-Length: 5, 5\r\n\r\nhello", "!LENGTH" },
    { "6.2", "signed length", POST "Content-Length: +5\r\n\r\nhello", "!LENGTH" },
    { "6.2", "negative length", POST "Content-Length: -5\r\n\r\nhello", "!LENGTH" },
    { "6.2", "hex length", POST "Content-Length: 0x5\r\n\r\nhello", "!LENGTH" },
    { "6.2", "length with a blank inside", POST "Content-Length: 1 0\r\n\r\nhello", "!LENGTH" },
    { "6.2", "fraction", POST "Content-Length: 5.0\r\n\r\nhello", "!LENGTH" },
    { "6.2", "leading zero", POST "Content-Length: 05\r\n\r\nhello", "!LENGTH" },
    { "6.2", "empty length", POST "Content-Length:\r\n\r\nhello", "!LENGTH" },
    { "6.2", "length beyond 63 bits", POST "Content-Length: 9223372036854775808\r\n\r\n", "!LENGTH" },
    { "6.2", "length beyond 64 bits", POST "Content-Length: 18446744073709551621\r\n\r\nhello", "!LENGTH" },
    { "6.2", "length with an underscore is another field", POST "Content_Length: 5\r\n\r\n",
      "<POST / 1.1 none keep [Host: a] [Content_Length: 5]>." },
    { "6.3", "GET with a body has that body", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
      "<GET / 1.1 length keep [Host: a] [Content-Length: 3]>{abc}." },
    { "6.3", "request without length has no body", POST "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "<POST / 1.1 none keep [Host: a]>." GET_A },

    /* ---- Transfer-Encoding */
    { "6.1", "both", POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "!BOTH" },
    { "6.1", "both, other order", POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
      "!BOTH" },
    { "6.1", "both, bad coding", POST "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\nhello",
      "!BOTH" },
    { "6.1", "chunked in HTTP/1.0",
      "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "!CODING" },
    { "6.1", "chunked twice", POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "!CODING" },
    { "6.1", "two fields", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "!CODING" },
    { "6.1", "chunked, then identity",
      POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", "!CODING" },
    { "6.1", "chunked is not last", POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "!CODING" },
    { "6.1", "gzip under chunked", POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "!CODING" },
    { "6.1", "identity", POST "Transfer-Encoding: identity\r\n\r\n", "!CODING" },
    { "6.1", "empty coding", POST "Transfer-Encoding:\r\n\r\n", "!CODING" },
    { "6.1", "quoted coding", POST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", "!CODING" },
    { "6.1", "coding with a parameter", POST "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", "!CODING" },
    { "6.1", "coding with a comma", POST "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", "!CODING" },
    { "6.1", "coding with bytes in front", POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "!CODING" },
    { "6.1", "coding with a byte beyond ASCII", POST "Transfer-Encoding: chunked\xa0\r\n\r\n0\r\n\r\n",
      "!CODING" },
    { "6.1", "coding in capitals is the same", POST "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
      "<POST / 1.1 chunked keep [Host: a] [Transfer-Encoding: CHUNKED]>." },
    { "6.1", "coding with an underscore is another field", POST "Transfer_Encoding: chunked\r\n\r\n",
      "<POST / 1.1 none keep [Host: a] [Transfer_Encoding: chunked]>." },

    /* ---- Expect, Connection */
    { "9110 10.1.1", "another expectation", POST "Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx", "!EXPECT" },
    { "9110 10.1.1", "Expect without a body means nothing", POST "Expect: 100-continue\r\n\r\n",
      "<POST / 1.1 none keep [Host: a] [Expect: 100-continue]>." },
    { "9.3", "close wins", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Close\r\n\r\n",
      "<GET / 1.1 none [Host: a] [Connection: keep-alive, Close]>." },
    { "9.3", "HTTP/1.0 closes", "GET / HTTP/1.0\r\n\r\n", "<GET / 1.0 none>." },
    { "7.8", "HTTP/1.0 cannot upgrade", "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
      "<GET / 1.0 none [Connection: upgrade] [Upgrade: x]>." },
};

#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define CHUNKED_HEAD "<POST / 1.1 chunked keep [Host: a] [Transfer-Encoding: chunked]>"

static const struct shape chunk_shapes[] = {
    { "7.1", "one chunk", CHUNKED "5\r\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "{hello}." },
    { "7.1", "hex in both cases, zeros in front",
      CHUNKED "00a\r\n0123456789\r\nB\r\n0123456789a\r\n000\r\n\r\n",
      CHUNKED_HEAD "{01234567890123456789a}." },
    { "7.1", "what follows is the next request", CHUNKED "0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
      CHUNKED_HEAD "." GET_A },
    { "7.1", "bare LF after the size", CHUNKED "5\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1", "bare CR after the size", CHUNKED "5\rhello\r\n0\r\n\r\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1", "bare LF after the data", CHUNKED "5\r\nhello\n0\r\n\r\n", CHUNKED_HEAD "{hello}!CHUNK" },
    { "7.1", "any two bytes after the data", CHUNKED "5\r\nhelloXX0\r\n\r\n", CHUNKED_HEAD "{hello}!CHUNK" },
    { "7.1", "data longer than its size", CHUNKED "4\r\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "{hell}!CHUNK" },
    { "7.1", "bare LF after the last chunk", CHUNKED "0\n\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1", "bare LF as the last line", CHUNKED "0\r\n\n", CHUNKED_HEAD "!LINE" },
    { "7.1", "CR and no LF as the last line", CHUNKED "0\r\n\rX", CHUNKED_HEAD "!LINE" },
    { "7.1", "0x in front of the size", CHUNKED "0x5\r\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1", "sign in front of the size", CHUNKED "+5\r\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1", "negative size", CHUNKED "-5\r\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1", "blank in front of the size", CHUNKED " 5\r\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1", "blank after the size", CHUNKED "5 \r\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1", "underscore in the size", CHUNKED "1_0\r\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1", "no size", CHUNKED "\r\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1", "size beyond 64 bits", CHUNKED "10000000000000005\r\nhello\r\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1", "size beyond 63 bits", CHUNKED "8000000000000000\r\nhello\r\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1.1", "extension is dropped", CHUNKED "5;a=b\r\nhello\r\n0;c\r\n\r\n", CHUNKED_HEAD "{hello}." },
    { "7.1.1", "bare LF in an extension", CHUNKED "5;a\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1.1", "bare CR in an extension", CHUNKED "5;a\rb\r\nhello\r\n0\r\n\r\n", CHUNKED_HEAD "!CHUNK" },
    { "7.1.1", "control byte in an extension", CHUNKED "5;a\x01\r\nhello\r\n0\r\n\r\n",
      CHUNKED_HEAD "!CHUNK" },
    { "7.1.2", "trailers", CHUNKED "0\r\nX-A: b\r\nX-C:\r\n\r\n",
      CHUNKED_HEAD "<trailers [X-A: b] [X-C: ]>." },
    { "7.1.2", "folded trailer", CHUNKED "0\r\nX-A: b\r\n c\r\n\r\n", CHUNKED_HEAD "!FOLD" },
    { "7.1.2", "blank in front of a trailer", CHUNKED "0\r\n X-A: b\r\n\r\n", CHUNKED_HEAD "!FOLD" },
    { "7.1.2", "bare LF after a trailer", CHUNKED "0\r\nX-A: b\n\r\n", CHUNKED_HEAD "!LINE" },
    { "7.1.2", "trailer that is no field", CHUNKED "0\r\nGET / HTTP/1.1\r\n\r\n", CHUNKED_HEAD "!FIELD" },
    { "8", "ends inside a chunk", CHUNKED "5\r\nhel", CHUNKED_HEAD "{hel}!TRUNCATED" },
    { "8", "ends without the last chunk", CHUNKED "5\r\nhello\r\n", CHUNKED_HEAD "{hello}!TRUNCATED" },
    { "8", "ends inside the last line", CHUNKED "0\r\n\r", CHUNKED_HEAD "!TRUNCATED" },
    { "8", "ends inside a body", POST "Content-Length: 5\r\n\r\nhel",
      "<POST / 1.1 length keep [Host: a] [Content-Length: 5]>{hel}!TRUNCATED" },
    { "8", "ends inside a head", "GET / HTTP/1.1\r\nHost: a\r\n", "!TRUNCATED" },
};

static const struct shape response_shapes[] = {
    { "6.3", "length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
      "<200 1.1 length keep [Content-Length: 2]>{hi}." },
    { "6.3", "until close", "HTTP/1.1 200 OK\r\n\r\nhi", "<200 1.1 close>{hi}." },
    { "6.3", "until close, nothing comes", "HTTP/1.0 200 OK\r\n\r\n", "<200 1.0 close>." },
    { "6.3", "204 has no body, and is the last on its connection if it says otherwise",
      "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "<204 1.1 none [Content-Length: 5]>." },
    { "6.3", "304 names a length and has no body", "HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n",
      "<304 1.1 none keep [Content-Length: 5]>." },
    { "6.3", "both", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "!BOTH" },
    { "6.3", "two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
      "!LENGTH" },
    { "6.3", "list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2,2\r\n\r\nhi", "!LENGTH" },
    { "6.1", "chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "!CODING" },
    { "6.1", "another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx", "!CODING" },
    { "4", "no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
      "<200 1.1 none keep [Content-Length: 0]>." },
    { "4", "empty reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
      "<200 1.1 none keep [Content-Length: 0]>." },
    { "4", "two digits", "HTTP/1.1 20 OK\r\n\r\n", "!START" },
    { "4", "four digits", "HTTP/1.1 2000 OK\r\n\r\n", "!START" },
    { "4", "status 000", "HTTP/1.1 000 OK\r\n\r\n", "!START" },
    { "4", "two blanks", "HTTP/1.1  200 OK\r\n\r\n", "!START" },
    { "4", "not HTTP", "220 smtp.test ESMTP\r\n", "!START" },
    { "4", "blank line in front", "\r\nHTTP/1.1 200 OK\r\n\r\n", "!START" },
    { "2.3", "HTTP/2 frames", "\x01\x02\x03", "!LINE" },
    { "2.3", "HTTP/3.0", "HTTP/3.0 200 OK\r\n\r\n", "!VERSION" },
    { "2.2", "bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "!LINE" },
    { "5.2", "folded", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "!FOLD" },
    { "9110 15.2", "interim responses",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\nHTTP/1.1 204 x\r\n\r\n",
      "<100 1.1 none keep><103 1.1 none keep [Link: y]><204 1.1 none keep>." },
    { "9110 15.2.2", "101 that nobody asked for",
      "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "!UPGRADE" },
};

#define CHECK(script, shapes)                                                                 \
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {                                           \
        const struct shape *s = &(shapes)[i];                                                 \
        struct buf got;                                                                       \
        buf_init(&got, 1 << 20);                                                              \
        tell(&got, script, span_from_str(s->in), 0, strlen(s->in));                           \
        if (got.len != strlen(s->want) || memcmp(buf_span(&got).data, s->want, got.len) != 0) \
            fail_msg("%s: %s:\n got %.*s\nwant %s", s->section, s->why, (int)got.len,         \
                     (const char *)buf_span(&got).data, s->want);                             \
        buf_deinit(&got);                                                                     \
        check_story(script, s->in, s->want);                                                  \
    }

static void requests_have_one_meaning(void **state)
{
    (void)state;
    CHECK(REQUESTS, request_shapes);
}

static void chunks_have_one_meaning(void **state)
{
    (void)state;
    CHECK(REQUESTS, chunk_shapes);
}

static void responses_have_one_meaning(void **state)
{
    (void)state;
    CHECK(RESPONSES, response_shapes);
}

static void nul_bytes_are_refused(void **state)
{
    (void)state;
    static const char value[] = "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n";
    static const char target[] = "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n";
    static const char name[] = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\0: chunked\r\n\r\n";
    static const char chunk[] = CHUNKED "5\0\r\nhello\r\n0\r\n\r\n";

    check_story_bytes(REQUESTS, span_make(value, sizeof(value) - 1), "!LINE");
    check_story_bytes(REQUESTS, span_make(target, sizeof(target) - 1), "!LINE");
    check_story_bytes(REQUESTS, span_make(name, sizeof(name) - 1), "!LINE");
    check_story_bytes(REQUESTS, span_make(chunk, sizeof(chunk) - 1), CHUNKED_HEAD "!CHUNK");
}

/* Every byte value in every place where framing has a delimiter. */
static void only_the_right_delimiter_is_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after;
        uint8_t right;
    } places[] = {
        { "GET / HTTP/1.1", "\nHost: a\r\n\r\n", '\r' }, { "GET / HTTP/1.1\r", "Host: a\r\n\r\n", '\n' },
        { "GET / HTTP/1.1\r\nHost: a", "\n\r\n", '\r' }, { "GET / HTTP/1.1\r\nHost: a\r", "\r\n", '\n' },
        { "GET / HTTP/1.1\r\nHost: a\r\n", "\n", '\r' }, { "GET / HTTP/1.1\r\nHost: a\r\n\r", "", '\n' },
        { CHUNKED "5", "\nhello\r\n0\r\n\r\n", '\r' },   { CHUNKED "5\r", "hello\r\n0\r\n\r\n", '\n' },
        { CHUNKED "5\r\nhello", "\n0\r\n\r\n", '\r' },   { CHUNKED "5\r\nhello\r", "0\r\n\r\n", '\n' },
        { CHUNKED "5\r\nhello\r\n0\r", "\r\n", '\n' },   { CHUNKED "5\r\nhello\r\n0\r\n\r", "", '\n' },
    };

    for (size_t i = 0; i < COUNT_OF(places); i++)
        for (int c = 0; c < 256; c++) {
            struct buf in, story;
            uint8_t byte = (uint8_t)c;

            buf_init(&in, 4096);
            buf_init(&story, 4096);
            assert_int_equal(buf_append_str(&in, places[i].before), 0);
            assert_int_equal(buf_append(&in, span_make(&byte, 1)), 0);
            assert_int_equal(buf_append_str(&in, places[i].after), 0);
            tell(&story, REQUESTS, buf_span(&in), 0, in.len);
            assert_int_equal(buf_span(&story).data[story.len - 1] == '.', byte == places[i].right);
            buf_deinit(&in);
            buf_deinit(&story);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_have_one_meaning),
        cmocka_unit_test(chunks_have_one_meaning),
        cmocka_unit_test(responses_have_one_meaning),
        cmocka_unit_test(nul_bytes_are_refused),
        cmocka_unit_test(only_the_right_delimiter_is_accepted),
    };
    static_assert(COUNT_OF(request_shapes) + COUNT_OF(chunk_shapes) + COUNT_OF(response_shapes) >= 160, "");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
