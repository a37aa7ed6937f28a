"""One module a command or group of commands: flags in, one call, printed result out."""
