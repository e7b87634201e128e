// Seed for the fuzz targets: two programs in one section, no maps, loops and every width of memory access.
char _license[] __attribute__((section("license"), used)) = "GPL";

__attribute__((section("socket"), used)) int sum(void *context)
{
	volatile unsigned char bytes[16];
	unsigned long result = 0;

	for (int i = 0; i < 16; i++)
		bytes[i] = i * 3;
	for (int i = 0; i < 16; i++)
		result += bytes[i];
	return result;
}

__attribute__((section("socket"), used)) int words(unsigned int *context)
{
	volatile unsigned short half = context[0];
	volatile unsigned long wide = context[1];

	return half + wide / (context[2] | 1);
}
