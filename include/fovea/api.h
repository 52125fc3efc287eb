/* api.h - marks what the shared library exports: what these headers declare, and nothing else. */
#ifndef FOVEA_API_H
#define FOVEA_API_H

/* The library is compiled with hidden visibility. In a static library or a single file the mark changes nothing. */
#if defined(__GNUC__) && defined(__ELF__)
#define FV_API __attribute__((visibility("default")))
#else
#define FV_API
#endif

#endif
