"""What a student does with images: learners, critics, the distiller and its schemes."""
