# A function without a size.
	.section xdp,"ax",@progbits
	.globl none
	.type none,@function
none:
	r0 = 1
	exit
