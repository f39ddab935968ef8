"""Read data from files and memory into training problems."""
