# A function whose size is not a multiple of an instruction's.
	.section xdp,"ax",@progbits
	.globl odd
	.type odd,@function
odd:
	r0 = 1
	exit
	.size odd, 12
