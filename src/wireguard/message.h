/* Layout of the four messages. Lengths are exact, so a checked length makes every offset safe. */
#ifndef MANYTAILS_WIREGUARD_MESSAGE_H
#define MANYTAILS_WIREGUARD_MESSAGE_H

#include "wireguard/wireguard.h"

enum message_type { TYPE_INITIATION = 1, TYPE_RESPONSE = 2, TYPE_COOKIE_REPLY = 3, TYPE_DATA = 4 };

#define INITIATION_BYTES 148
#define RESPONSE_BYTES 92
#define COOKIE_REPLY_BYTES 64
#define DATA_BYTES_MIN WIREGUARD_OVERHEAD_BYTES /* a keepalive */

#define TIMESTAMP_BYTES 12
#define MAC_BYTES 16
#define COOKIE_BYTES 16

#define AT_SENDER 4 /* initiation, response */

#define INITIATION_AT_EPHEMERAL 8
#define INITIATION_AT_STATIC 40
#define INITIATION_AT_TIMESTAMP 88
#define INITIATION_AT_MACS 116

#define RESPONSE_AT_RECEIVER 8
#define RESPONSE_AT_EPHEMERAL 12
#define RESPONSE_AT_EMPTY 44
#define RESPONSE_AT_MACS 60

#define COOKIE_AT_RECEIVER 4
#define COOKIE_AT_NONCE 8
#define COOKIE_AT_SEALED 32

#define DATA_AT_RECEIVER 4
#define DATA_AT_COUNTER 8

#endif
