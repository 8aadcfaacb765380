"""What integration tests stand on: a real engine, a real daemon, real git servers, and checks for leftovers."""
