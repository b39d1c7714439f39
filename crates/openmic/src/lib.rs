//! A meeting bot's microphone: join a call, unmute, know that it is heard.
