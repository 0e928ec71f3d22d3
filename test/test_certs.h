/* test_certs.h - two pairs of certificate and key, for tests that need files of them */
#ifndef MANYTAILS_TEST_CERTS_H
#define MANYTAILS_TEST_CERTS_H

/* Made with the openssl program, for these tests only; valid ten years from 2026-11-24. */
static const char web_cert[] = "-----BEGIN CERTIFICATE-----\n"
                               "MIIBjzCCATagAwIBAgIUM7uitI4Z/YVxXq69QxeVcosBlSAwCgYIKoZIzj0EAwIw\n"
                               "EzERMA8GA1UEAwwId2ViLnRlc3QwHhcNMjYxMTI0MTc0NTA1WhcNMzYxMTIxMTc0\n"
                               "NTA1WjATMREwDwYDVQQDDAh3ZWIudGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEH\n"
                               "A0IABLXawlwkkixyFuD3JDLWown9cVUfd5mW2cdbFMuH8KnhTq6yLGIEgXg7+qb+\n"
                               "XqrTd8+g2pJm55hh3eUDx6/glkijaDBmMB0GA1UdDgQWBBQJIMgvgCbKKgUMsOM/\n"
                               "4BovSfArNDAfBgNVHSMEGDAWgBQJIMgvgCbKKgUMsOM/4BovSfArNDAPBgNVHRMB\n"
                               "Af8EBTADAQH/MBMGA1UdEQQMMAqCCHdlYi50ZXN0MAoGCCqGSM49BAMCA0cAMEQC\n"
                               "IGqTu+W0aQWy0p2NnCw1rkzgCJ9vjQjagJp6UUeveCGaAiABJ6Gtuq30ORVR3923\n"
                               "3be8Z6k5VhaK49ZCkwj8FDtx7w==\n"
                               "-----END CERTIFICATE-----\n";
static const char web_key[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgDoxoSL48qWoDihgH\n"
                              "jhFUkiB8nzcWlZdSuT/CEPbrVZShRANCAAS12sJcJJIschbg9yQy1qMJ/XFVH3eZ\n"
                              "ltnHWxTLh/Cp4U6usixiBIF4O/qm/l6q03fPoNqSZueYYd3lA8ev4JZI\n"
                              "-----END PRIVATE KEY-----\n";
static const char other_cert[] = "-----BEGIN CERTIFICATE-----\n"
                                 "MIIBljCCATygAwIBAgIUOo3+jd5KcPJYIwwYAlqw/nY7WiIwCgYIKoZIzj0EAwIw\n"
                                 "FTETMBEGA1UEAwwKb3RoZXIudGVzdDAeFw0yNjExMjQxNzQ1MDVaFw0zNjExMjEx\n"
                                 "NzQ1MDVaMBUxEzARBgNVBAMMCm90aGVyLnRlc3QwWTATBgcqhkjOPQIBBggqhkjO\n"
                                 "PQMBBwNCAATF/HZuDaEruoewUnOLzIWgQq6LNJGNfR2as3TROmDFLp+z1jWMizv8\n"
                                 "qSafW63EmQC3uz9P0Po9idKqKFkqi9jPo2owaDAdBgNVHQ4EFgQUJVgl8Gfm0W7q\n"
                                 "ITKR3myrWzfLs7owHwYDVR0jBBgwFoAUJVgl8Gfm0W7qITKR3myrWzfLs7owDwYD\n"
                                 "VR0TAQH/BAUwAwEB/zAVBgNVHREEDjAMggpvdGhlci50ZXN0MAoGCCqGSM49BAMC\n"
                                 "A0gAMEUCIQCw+AmPbqAnvH6Q7bEk0pcZJzBtJsZK0otat0+uDRnhmQIgfLjJ+X4r\n"
                                 "d6OSg4xLDsk3CrgQzfPcVauZEei3/rtq13U=\n"
                                 "-----END CERTIFICATE-----\n";
static const char other_key[] = "-----BEGIN PRIVATE KEY-----\n"
                                "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQguwXbbFxSZoyg2g4g\n"
                                "CoqYKOuzFL6RGfsVQ4e2rhzieCKhRANCAATF/HZuDaEruoewUnOLzIWgQq6LNJGN\n"
                                "fR2as3TROmDFLp+z1jWMizv8qSafW63EmQC3uz9P0Po9idKqKFkqi9jP\n"
                                "-----END PRIVATE KEY-----\n";

#endif
