# Functions with bytes between them that belong to none, and two that overlap.
	.section xdp,"ax",@progbits
	.globl first
	.type first,@function
first:
	r0 = 1
	exit
	.size first, 16
	r0 = 99
	exit
	.globl second
	.globl tail
	.type second,@function
	.type tail,@function
second:
	r0 = 2
tail:
	r0 = 3
	exit
	.size second, 24
	.size tail, 16
