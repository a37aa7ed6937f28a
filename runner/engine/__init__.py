"""The engine process seen from the runner: started, fed, watched, restarted, and the models it needs."""
