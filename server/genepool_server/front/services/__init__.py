"""The gRPC services, ten lines a method, and the conversion between messages and records."""
