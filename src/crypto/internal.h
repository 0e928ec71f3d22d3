/* crypto/internal.h - what the files of crypto/ share */
#ifndef MANYTAILS_CRYPTO_INTERNAL_H
#define MANYTAILS_CRYPTO_INTERNAL_H

#include "crypto/crypto.h"

void random_init(void);
void random_thread_end(void);

#endif
