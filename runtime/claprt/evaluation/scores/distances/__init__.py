"""Distances between two sets of vectors, in numpy and float64.

vector_sets    vectors of the sounds of a set, and which sound each row is of
gaussians      mean and covariance of a set
frechet        Fréchet distance of two Gaussians, its interval, and each sound's share
extrapolation  the Fréchet distance for infinitely many sounds
kernel         kernel audio distance: the squared maximum mean discrepancy
neighbours     precision, recall, density and coverage
"""
