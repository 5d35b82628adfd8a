"""How the ports are served by real things, one technology a file. Drivers know the ports, never who calls them."""
