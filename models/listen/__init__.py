"""Speech that was made → when each word is spoken, and what a recogniser hears."""
