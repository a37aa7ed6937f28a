"""Commands and groups of commands: flags in, one call, printed result out."""
