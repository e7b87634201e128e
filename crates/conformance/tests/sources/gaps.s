# Functions with bytes between them that belong to none, two names for one place, and a branch over a gap.
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
	.globl alias
	.type second,@function
	.type alias,@function
second:
alias:
	r0 = 2
	exit
	.size second, 16
	.size alias, 16
