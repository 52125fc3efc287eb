/* linux_only.h - what is built from here on knows Linux only: affinity of threads, huge pages, /proc and /sys. One list
 * of it is docs/platforms.md. */
#ifndef FV_LINUX_ONLY_H
#define FV_LINUX_ONLY_H

#ifndef __linux__
#error "fovea: the hosted part is for Linux only; the core builds everywhere: cmake -DFV_HOSTED=OFF (docs/platforms.md)"
#endif

#endif
