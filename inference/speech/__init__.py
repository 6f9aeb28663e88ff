"""Speech: recorded sound to text, what is wrong in it put right, and text to sound."""
