"""How arrays are computed: convolutions on a CPU, batches, pixel conversion. No architecture, no weights."""
