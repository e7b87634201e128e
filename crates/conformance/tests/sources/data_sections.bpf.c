// Data sections with one name and with more, large and small, static only and not, constants with and without relocations.
#include "bpf.h"

u64 plain = 1;
static volatile u32 quiet SEC(".data.quiet") = 2;
u32 loud SEC(".data.loud") = 3;
u64 zero[100];
u64 zero_of_its_own SEC(".bss.own");
const volatile u32 constant = 4;
const volatile char text[] SEC(".rodata.text") = "some text that is longer than fifteen bytes";
static const volatile u32 table[4] SEC(".rodata.a.b.c") = { 5, 6, 7, 8 };
u32 other SEC(".other") = 9;

SEC("socket") int use(void *context)
{
	u32 index = zero[3] & 3;

	zero_of_its_own++;
	zero[index] = plain + quiet + loud + constant + text[index] + table[index];
	return zero[50];
}
