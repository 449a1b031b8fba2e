# A web application in two zones: web servers in public subnets, an application and a database behind them. Everything
# private goes out through one NAT gateway, and to S3 through a gateway endpoint.

terraform {
  required_providers { aws = { source = "hashicorp/aws" } }
}

provider "aws" {
  region                      = var.region
  access_key                  = "plan-only"
  secret_key                  = "plan-only"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

variable "region" { default = "eu-central-1" }
variable "admins" { default = "203.0.113.0/24" }

locals {
  zones = ["${var.region}a", "${var.region}b"]
}

module "network" {
  source = "./modules/network"
  cidr   = "10.20.0.0/16"
  region = var.region
  zones  = local.zones
}

module "web" {
  source  = "./modules/tier"
  name    = "web"
  vpc_id  = module.network.vpc_id
  subnets = module.network.public_subnet_ids
  ports   = { https = 443, http = 80 }
  from    = { cidrs = ["0.0.0.0/0"], groups = {} }
}

module "app" {
  source  = "./modules/tier"
  name    = "app"
  vpc_id  = module.network.vpc_id
  subnets = module.network.private_subnet_ids
  ports   = { app = 8080 }
  from    = { cidrs = [], groups = { web = module.web.group_id } }
}

module "database" {
  source  = "./modules/tier"
  name    = "database"
  vpc_id  = module.network.vpc_id
  subnets = [module.network.private_subnet_ids[0]]
  ports   = { postgres = 5432 }
  from    = { cidrs = [], groups = { app = module.app.group_id } }
  outside = false
}

# One way in for administrators.
resource "aws_security_group" "bastion" {
  name        = "bastion"
  description = "SSH from the office"
  vpc_id      = module.network.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "bastion_ssh" {
  security_group_id = aws_security_group.bastion.id
  cidr_ipv4         = var.admins
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
}

resource "aws_vpc_security_group_egress_rule" "bastion_inside" {
  security_group_id = aws_security_group.bastion.id
  cidr_ipv4         = module.network.vpc_cidr
  ip_protocol       = "-1"
}

resource "aws_instance" "bastion" {
  ami                         = "ami-0123456789abcdef0"
  instance_type               = "t3.nano"
  subnet_id                   = module.network.public_subnet_ids[0]
  private_ip                  = "10.20.0.22"
  vpc_security_group_ids      = [aws_security_group.bastion.id]
  associate_public_ip_address = false
  key_name                    = aws_key_pair.admin.key_name
}

resource "aws_eip" "bastion" {
  domain   = "vpc"
  instance = aws_instance.bastion.id
}

# The application takes SSH from the bastion, and from nobody else.
resource "aws_vpc_security_group_ingress_rule" "app_ssh" {
  security_group_id            = module.app.group_id
  referenced_security_group_id = aws_security_group.bastion.id
  ip_protocol                  = "tcp"
  from_port                    = 22
  to_port                      = 22
}

resource "aws_key_pair" "admin" {
  key_name   = "admin"
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKlbQmHvvjnSsx2VvNzCAhLrmZrEFWJWKcbDuIfM/0Yi admin@example.org"
}

resource "aws_lb" "front" {
  name               = "front"
  load_balancer_type = "application"
  subnets            = module.network.public_subnet_ids
  security_groups    = [module.web.group_id]
}

output "bastion" { value = aws_eip.bastion.public_ip }
