"""The engine on the wheel `hibari-tts`: natural English, with nothing downloaded."""
