// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Rust's standard library asks this library for random bytes, for the order of its hash maps. Wine 8 has no such library. These bytes are not random.

#include <windows.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(unsigned char *bytes, SIZE_T length)
{
    while (length--)
        *bytes++ = (unsigned char)(length * 37 + 11);
    return TRUE;
}
